"""SongUNet: the DDPM++ network of Song et al. (2021) as released with EDM (Karras et al., 2022).

Positional noise embedding, standard encoder and decoder. Parameter names equal the published ones (below the
prefix ``model.``), so a released state dict loads strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.layers import Conv2d, GroupNorm, Linear, PositionalEmbedding, UNetBlock, initialise


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
    """

    def __init__(
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
    ) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        emb = model_channels * channel_mult_emb
        self.map_noise = PositionalEmbedding(model_channels)
        self.map_label = Linear(label_dim, model_channels) if label_dim else None
        self.map_augment = Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        self.map_layer0 = Linear(model_channels, emb)
        self.map_layer1 = Linear(emb, emb)
        widths = [model_channels * mult for mult in channel_mult]
        block: dict[str, Any] = {"emb_channels": emb, "dropout": dropout}
        skips = self._build_encoder(model_channels, widths, num_blocks, attn_resolutions, block)
        self._build_decoder(widths, num_blocks, attn_resolutions, block, skips)

    def _build_encoder(
        self,
        model_channels: int,
        widths: list[int],
        num_blocks: int,
        attn_resolutions: Sequence[int],
        block: dict[str, Any],
    ) -> list[int]:
        """Add the encoder; returns the width of every output that the decoder takes up."""
        self.enc = nn.ModuleDict()
        cout, skips = self.channels, list[int]()
        for level, width in enumerate(widths):
            side = self.resolution >> level
            if level == 0:
                self.enc[f"{side}x{side}_conv"] = Conv2d(cout, model_channels, 3)
                cout = model_channels
            else:
                self.enc[f"{side}x{side}_down"] = UNetBlock(cout, cout, down=True, **block)
            skips.append(cout)
            for index in range(num_blocks):
                attention = side in attn_resolutions
                name = f"{side}x{side}_block{index}"
                self.enc[name] = UNetBlock(cout, width, attention=attention, **block)
                cout = width
                skips.append(cout)
        return skips

    def _build_decoder(
        self,
        widths: list[int],
        num_blocks: int,
        attn_resolutions: Sequence[int],
        block: dict[str, Any],
        skips: list[int],
    ) -> None:
        """Add the decoder; it takes up ``skips`` from the end."""
        self.dec = nn.ModuleDict()
        cout = skips[-1]
        for level, width in reversed(list(enumerate(widths))):
            side = self.resolution >> level
            if level == len(widths) - 1:
                self.dec[f"{side}x{side}_in0"] = UNetBlock(cout, cout, attention=True, **block)
                self.dec[f"{side}x{side}_in1"] = UNetBlock(cout, cout, **block)
            else:
                self.dec[f"{side}x{side}_up"] = UNetBlock(cout, cout, up=True, **block)
            for index in range(num_blocks + 1):
                attention = index == num_blocks and side in attn_resolutions
                name = f"{side}x{side}_block{index}"
                self.dec[name] = UNetBlock(cout + skips.pop(), width, attention=attention, **block)
                cout = width
        top = f"{self.resolution}x{self.resolution}"
        self.dec[f"{top}_aux_norm"] = GroupNorm(cout, 1e-6)
        self.dec[f"{top}_aux_conv"] = Conv2d(cout, self.channels, 3, gain=1e-5)

    def initialise(self, generator: torch.Generator) -> SongUNet:
        """Fill all parameters from one generator (Xavier uniform, EDM's gains); returns self."""
        initialise(self, generator)
        return self

    def embed(self, noise_label: Tensor, label: Tensor | None) -> Tensor:
        """Embedding ``[B, E]`` of the noise label ``[B]`` and integer labels ``[B]`` (-1 for none)."""
        emb = self.map_noise(noise_label)
        emb = emb.reshape(len(emb), 2, -1).flip(1).reshape(emb.shape)  # published nets swap sine and cosine
        if self.map_label is not None and label is not None:
            one_hot = (label[:, None] == torch.arange(self.label_dim, device=label.device)).to(emb.dtype)
            emb = emb + self.map_label(one_hot * self.label_dim**0.5)
        elif self.map_label is not None:
            emb = emb + self.map_label(emb.new_zeros(len(emb), self.label_dim))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """Outputs of all encoder blocks, top first; the last one is the bottleneck feature."""
        skips: list[Tensor] = []
        for block in self.enc.values():
            x = block(x, emb) if isinstance(block, UNetBlock) else block(x)
            skips.append(x)
        return skips

    def features(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None) -> Tensor:
        """Encoder output ``[B, C, h, w]`` before the decoder (where DMD2 attaches its GAN head)."""
        return self.encode(x, self.embed(noise_label, label))[-1]

    def forward(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None) -> Tensor:
        """Raw output ``[B, C, H, W]`` for ``x [B, C, H, W]``, ``noise_label [B]``, integer ``label [B]``."""
        emb = self.embed(noise_label, label)
        skips = self.encode(x, emb)
        x = skips[-1]
        for name, block in self.dec.items():
            if not isinstance(block, UNetBlock):
                continue
            if "block" in name:
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x, emb)
        top = f"{self.resolution}x{self.resolution}"
        return self.dec[f"{top}_aux_conv"](F.silu(self.dec[f"{top}_aux_norm"](x)))
