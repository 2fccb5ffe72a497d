"""DhariwalUNet: the ADM network of Dhariwal and Nichol (2021) as released with EDM (Karras et al., 2022).

Parameter names and their order equal the published ones (below the prefix ``model.``). OpenAI's own files
name the same tensors otherwise (``baselines.checkpoints.openai``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.labels import drop_labels, one_hot
from baselines.networks.layers import Conv2d, GroupNorm, Linear, PositionalEmbedding, UNetBlock


class ADMBlock(UNetBlock):
    """Residual block of ADM: the embedding scales and shifts, skips are unscaled, heads have 64 channels."""

    modulations: ClassVar[int] = 2
    skip_scale: ClassVar[float] = 1.0
    eps: ClassVar[float] = 1e-5
    resampling_kernel: ClassVar[int] = 0
    head_channels: ClassVar[int | None] = 64
    quiet_gain: ClassVar[float] = 0.0
    attention_gain: ClassVar[float] = 1.0

    def modulate(self, h: Tensor, emb: Tensor) -> Tensor:
        """The embedding scales and shifts the channels after the second normalisation."""
        scale, shift = self.affine(emb)[:, :, None, None].to(h.dtype).chunk(2, dim=1)
        return torch.addcmul(shift, self.norm1(h), scale + 1)


class DhariwalUNet(nn.Module):
    """Raw network ``F(x, noise_label, label)`` of a denoiser.

    Args:
        resolution: side of the square image in pixels.
        channels: image channels, in and out.
        label_dim: number of classes; 0 for an unconditional network.
        augment_dim: augmentation labels; 0 in the released network.
        model_channels: channels of the top level for a multiplier of 1.
        channel_mult: multipliers of ``model_channels``, one per level (each level halves the resolution).
        channel_mult_emb: width of the embedding in ``model_channels``.
        num_blocks: residual blocks per level in the encoder (one more in the decoder).
        attn_resolutions: sides at which blocks attend to all positions; widths there are multiples of 64.
        dropout: probability inside blocks; active in train mode only.
        label_dropout: probability that a label is hidden; active in train mode only.
        out_channels: where it is not ``channels`` (networks that predict a variance too).
    """

    def __init__(  # noqa: PLR0913 (the keywords of the checkpoints)
        self,
        resolution: int,
        channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[float] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        self.label_dropout = label_dropout
        self.num_blocks, self.attn_resolutions = num_blocks, tuple(attn_resolutions)
        emb = model_channels * channel_mult_emb
        self.map_noise = PositionalEmbedding(model_channels, endpoint=False)
        self.map_augment = Linear(augment_dim, model_channels, bias=False, gain=0) if augment_dim else None
        self.map_layer0 = Linear(model_channels, emb)
        self.map_layer1 = Linear(emb, emb)
        self.map_label = Linear(label_dim, emb, bias=False) if label_dim else None
        widths = [round(model_channels * mult) for mult in channel_mult]
        block: dict[str, Any] = {"emb_channels": emb, "dropout": dropout}
        skips = self._build_encoder(widths, block)
        self._build_decoder(widths, skips, block)
        self.out_norm = GroupNorm(widths[0])
        self.out_conv = Conv2d(widths[0], channels if out_channels is None else out_channels, 3, gain=0)

    def _build_encoder(self, widths: list[int], block: dict[str, Any]) -> list[int]:
        """Add the encoder; returns the width of every output that the decoder takes up."""
        self.enc = nn.ModuleDict()
        cout, skips = widths[0], list[int]()
        for level, width in enumerate(widths):
            side = self.resolution >> level
            if level == 0:
                self.enc[f"{side}x{side}_conv"] = Conv2d(self.channels, cout, 3)
            else:
                self.enc[f"{side}x{side}_down"] = ADMBlock(cout, cout, down=True, **block)
            skips.append(cout)
            for index in range(self.num_blocks):
                attention = side in self.attn_resolutions
                self.enc[f"{side}x{side}_block{index}"] = ADMBlock(cout, width, attention=attention, **block)
                cout = width
                skips.append(cout)
        return skips

    def _build_decoder(self, widths: list[int], skips: list[int], block: dict[str, Any]) -> None:
        """Add the decoder; it takes up ``skips`` from the end."""
        self.dec = nn.ModuleDict()
        cout = skips[-1]
        for level, width in reversed(list(enumerate(widths))):
            side = self.resolution >> level
            if level == len(widths) - 1:
                self.dec[f"{side}x{side}_in0"] = ADMBlock(cout, cout, attention=True, **block)
                self.dec[f"{side}x{side}_in1"] = ADMBlock(cout, cout, **block)
            else:
                self.dec[f"{side}x{side}_up"] = ADMBlock(cout, cout, up=True, **block)
            for index in range(self.num_blocks + 1):
                attention = side in self.attn_resolutions
                name = f"{side}x{side}_block{index}"
                self.dec[name] = ADMBlock(cout + skips.pop(), width, attention=attention, **block)
                cout = width

    def initialise(self, generator: torch.Generator) -> DhariwalUNet:
        """Fill all parameters from one generator; returns self.

        Weights and biases are uniform with variance 1 / (3 fan-in), last layers of branches zero, class
        embeddings standard normal (EDM's law for this network).
        """
        with torch.no_grad():
            for layer in self.modules():
                if layer is self.map_label:
                    layer.weight.normal_(generator=generator)
                elif isinstance(layer, Linear | Conv2d) and layer.weight is not None:
                    bound = 1 / math.sqrt(layer.weight[0].numel())
                    for p in layer.parameters():
                        p.uniform_(-bound, bound, generator=generator).mul_(layer.gain)
        return self

    def embed(self, noise_label: Tensor, label: Tensor | None, augment: Tensor | None = None) -> Tensor:
        """Embedding ``[B, E]`` of noise label ``[B]``, integer labels ``[B]`` (-1: none), augmentation."""
        emb = self.map_noise(noise_label)
        if self.map_augment is not None and augment is not None:
            emb = emb + self.map_augment(augment.to(emb.dtype))
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if self.map_label is not None:
            shown = drop_labels(label, self.label_dropout, self.training)
            emb = emb + self.map_label(one_hot(shown, self.label_dim, emb))
        return F.silu(emb)

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """Outputs of all encoder blocks, top first; the last one is the bottleneck feature."""
        skips: list[Tensor] = []
        for block in self.enc.values():
            x = block(x, emb) if isinstance(block, ADMBlock) else block(x)
            skips.append(x)
        return skips

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
        skips = self.encode(x, emb)
        x = skips[-1]
        for name, block in self.dec.items():
            x = block(torch.cat([x, skips.pop()], dim=1) if "block" in name else x, emb)
        return self.out_conv(F.silu(self.out_norm(x)))
