"""SongUNet: DDPM++ and NCSN++ of Song et al. (2021) as released with EDM (Karras et al., 2022).

Parameter names and their order equal the published ones (below the prefix ``model.``), so a released state
dict loads strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.labels import drop_labels, one_hot
from baselines.networks.layers import Conv2d, GroupNorm, Linear, UNetBlock, initialise
from baselines.networks.song_variant import DDPMPP, InputLayer, InputResidual, SongVariant


class SongUNet(nn.Module):
    """Raw network ``F(x, noise_label, label)`` of a denoiser.

    Args:
        resolution: side of the square image in pixels.
        channels: image channels, in and out.
        label_dim: number of classes; 0 for an unconditional network.
        augment_dim: augmentation labels of the published nets (students and samplers pass none).
        model_channels: channels at the top level.
        channel_mult: multipliers of ``model_channels``, one per level (each level halves the resolution).
        channel_mult_emb: width of the embedding in ``model_channels``.
        num_blocks: residual blocks per level in the encoder (one more in the decoder).
        attn_resolutions: sides at which blocks attend to all positions.
        dropout: probability inside blocks; active in train mode only.
        label_dropout: probability that a label is hidden; active in train mode only.
        out_channels: where it is not ``channels`` (networks that predict a variance too).
        variant: DDPM++ (default), NCSN++ or a mixture of their parts.
    """

    def __init__(  # noqa: PLR0913 (the keywords of the checkpoints)
        self,
        resolution: int,
        channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
        out_channels: int | None = None,
        variant: SongVariant = DDPMPP,
    ) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        self.label_dropout, self.variant = label_dropout, variant
        self.num_blocks, self.attn_resolutions = num_blocks, tuple(attn_resolutions)
        emb, noise = model_channels * channel_mult_emb, model_channels * variant.noise_mult
        self.map_noise = variant.embedding(noise)
        self.map_label = Linear(label_dim, noise) if label_dim else None
        self.map_augment = Linear(augment_dim, noise, bias=False) if augment_dim else None
        self.map_layer0 = Linear(noise, emb)
        self.map_layer1 = Linear(emb, emb)
        widths = [model_channels * mult for mult in channel_mult]
        block = {"emb_channels": emb, "dropout": dropout, "resample_filter": variant.resample_filter}
        skips = self._build_encoder(model_channels, widths, block)
        self._build_decoder(widths, skips, channels if out_channels is None else out_channels, block)

    def _build_encoder(self, top: int, widths: list[int], block: dict[str, Any]) -> list[int]:
        """Add the encoder; returns the width of every output that the decoder takes up."""
        self.enc = nn.ModuleDict()
        cout, aux, skips = self.channels, self.channels, list[int]()
        for level, width in enumerate(widths):
            side = self.resolution >> level
            if level == 0:
                self.enc[f"{side}x{side}_conv"] = Conv2d(cout, top, 3)
                cout = top
            else:
                self.enc[f"{side}x{side}_down"] = UNetBlock(cout, cout, down=True, **block)
                branch = self.variant.input_branch(aux, cout, self.variant.resample_filter)
                for name, layer in branch.items():
                    self.enc[f"{side}x{side}_{name}"] = layer
                    aux = cout if isinstance(layer, InputResidual) else aux
            skips.append(cout)
            for index in range(self.num_blocks):
                attention = side in self.attn_resolutions
                name = f"{side}x{side}_block{index}"
                self.enc[name] = UNetBlock(cout, width, attention=attention, **block)
                cout = width
                skips.append(cout)
        return skips

    def _build_decoder(
        self, widths: list[int], skips: list[int], out_channels: int, block: dict[str, Any]
    ) -> None:
        """Add the decoder; it takes up ``skips`` from the end."""
        self.dec = nn.ModuleDict()
        cout, lowest = skips[-1], len(widths) - 1
        for level, width in reversed(list(enumerate(widths))):
            side = self.resolution >> level
            if level == lowest:
                self.dec[f"{side}x{side}_in0"] = UNetBlock(cout, cout, attention=True, **block)
                self.dec[f"{side}x{side}_in1"] = UNetBlock(cout, cout, **block)
            else:
                self.dec[f"{side}x{side}_up"] = UNetBlock(cout, cout, up=True, **block)
            for index in range(self.num_blocks + 1):
                attention = index == self.num_blocks and side in self.attn_resolutions
                name = f"{side}x{side}_block{index}"
                self.dec[name] = UNetBlock(cout + skips.pop(), width, attention=attention, **block)
                cout = width
            if self.variant.output_pyramid and level < lowest:
                self.dec[f"{side}x{side}_aux_up"] = Conv2d(
                    out_channels, out_channels, 0, up=True, resample_filter=self.variant.resample_filter
                )
            if self.variant.output_pyramid or level == 0:
                self.dec[f"{side}x{side}_aux_norm"] = GroupNorm(cout, 1e-6)
                self.dec[f"{side}x{side}_aux_conv"] = Conv2d(cout, out_channels, 3, gain=1e-5)

    def initialise(self, generator: torch.Generator) -> SongUNet:
        """Fill all parameters from one generator (Xavier uniform, EDM's gains); returns self."""
        initialise(self, generator)
        return self

    def embed(self, noise_label: Tensor, label: Tensor | None, augment: Tensor | None = None) -> Tensor:
        """Embedding ``[B, E]`` of noise label ``[B]``, integer labels ``[B]`` (-1: none), augmentation."""
        emb = self.map_noise(noise_label)
        emb = emb.reshape(len(emb), 2, -1).flip(1).reshape(emb.shape)  # published nets swap sine and cosine
        if self.map_label is not None:
            shown = drop_labels(label, self.label_dropout, self.training)
            emb = emb + self.map_label(one_hot(shown, self.label_dim, emb) * self.label_dim**0.5)
        if self.map_augment is not None and augment is not None:
            emb = emb + self.map_augment(augment.to(emb.dtype))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """Outputs of all encoder blocks, top first; the last one is the bottleneck feature."""
        skips: list[Tensor] = []
        aux = x
        for block in self.enc.values():
            if isinstance(block, InputLayer):
                x, aux = block.join(x, aux)
                skips[-1] = x
            else:
                x = block(x, emb) if isinstance(block, UNetBlock) else block(x)
                skips.append(x)
        return skips

    def decode(self, skips: list[Tensor], emb: Tensor) -> Tensor:
        """Image ``[B, C, H, W]`` from the outputs of the encoder; takes them off the list."""
        x = head = skips[-1]
        out: Tensor | None = None
        for name, block in self.dec.items():
            if isinstance(block, UNetBlock):
                x = block(torch.cat([x, skips.pop()], dim=1) if "block" in name else x, emb)
            elif isinstance(block, GroupNorm):
                head = F.silu(block(x))
            elif "aux_up" in name:
                out = block(out)
            else:
                out = block(head) if out is None else block(head) + out
        assert out is not None
        return out

    def features(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None) -> Tensor:
        """Encoder output ``[B, C, h, w]`` before the decoder (where DMD2 attaches its GAN head)."""
        return self.encode(x, self.embed(noise_label, label))[-1]

    def forward(
        self, x: Tensor, noise_label: Tensor, label: Tensor | None = None, augment: Tensor | None = None
    ) -> Tensor:
        """Raw output ``[B, C, H, W]`` for ``x [B, C, H, W]``, ``noise_label [B]``, integer ``label [B]``.

        ``augment [B, augment_dim]`` says how a training image was augmented; None for clean images.
        """
        emb = self.embed(noise_label, label, augment)
        return self.decode(self.encode(x, emb), emb)
