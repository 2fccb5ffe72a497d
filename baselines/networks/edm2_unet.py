"""The U-Net of EDM2 (Karras et al., 2024), with the published names and order below the prefix ``unet.``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.networks.labels import one_hot
from baselines.networks.magnitude import (
    MPBlock,
    MPConv,
    MPFourier,
    initialise_mp,
    mp_cat,
    mp_silu,
    mp_sum,
)

TOP_WIDTHS = {"xs": 128, "s": 192, "m": 256, "l": 320, "xl": 384, "xxl": 448}


def edm2_widths(size: str) -> tuple[int, ...]:
    """Channels of the four levels of a published size.

    Raises:
        ValueError: no network of that size was published.
    """
    if size not in TOP_WIDTHS:
        raise ValueError(f"EDM2: size is {size!r}; expected one of {', '.join(TOP_WIDTHS)}")
    return tuple(TOP_WIDTHS[size] * level for level in (1, 2, 3, 4))


class EDM2UNet(nn.Module):
    """Raw network ``F(x, noise_label, label)`` of a denoiser.

    Args:
        resolution: side of the square image (or latent) in pixels.
        channels: image channels, in and out.
        label_dim: number of classes; 0 for an unconditional network.
        widths: channels of the levels, top first (each level halves the resolution); see ``edm2_widths``.
        noise_channels, emb_channels: widths of the Fourier features and of the embedding; None for those of
            the top and of the widest level, as published.
        num_blocks: residual blocks per level in the encoder (one more in the decoder).
        attn_resolutions: sides at which blocks attend to all positions; widths there are multiples of 64.
        dropout: probability inside blocks; active in train mode only.
    """

    label_share = 0.5  # of the class in the embedding
    skip_share = 0.5  # of the skip connections in the decoder

    def __init__(
        self,
        resolution: int,
        channels: int,
        label_dim: int = 0,
        widths: Sequence[int] = (192, 384, 576, 768),
        noise_channels: int | None = None,
        emb_channels: int | None = None,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (16, 8),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        self.num_blocks, self.attn_resolutions = num_blocks, tuple(attn_resolutions)
        noise = widths[0] if noise_channels is None else noise_channels
        emb = max(widths) if emb_channels is None else emb_channels
        self.out_gain = nn.Parameter(torch.zeros([]))
        self.emb_fourier = MPFourier(noise)
        self.emb_noise = MPConv(noise, emb, 0)
        self.emb_label = MPConv(label_dim, emb, 0) if label_dim else None
        block: dict[str, Any] = {"emb_channels": emb, "dropout": dropout}
        skips = self._build_encoder(widths, block)
        self._build_decoder(widths, skips, block)
        self.out_conv = MPConv(widths[0], channels, 3)

    def _build_encoder(self, widths: Sequence[int], block: dict[str, Any]) -> list[int]:
        """Add the encoder; returns the width of every output that the decoder takes up."""
        self.enc = nn.ModuleDict()
        cout, skips = widths[0], list[int]()
        for level, width in enumerate(widths):
            side = self.resolution >> level
            if level == 0:
                self.enc[f"{side}x{side}_conv"] = MPConv(self.channels + 1, cout, 3)  # one constant channel
            else:
                self.enc[f"{side}x{side}_down"] = MPBlock(cout, cout, resample=nn.AvgPool2d(2), **block)
            skips.append(cout)
            for index in range(self.num_blocks):
                attention = side in self.attn_resolutions
                self.enc[f"{side}x{side}_block{index}"] = MPBlock(cout, width, attention=attention, **block)
                cout = width
                skips.append(cout)
        return skips

    def _build_decoder(self, widths: Sequence[int], skips: list[int], block: dict[str, Any]) -> None:
        """Add the decoder; it takes up ``skips`` from the end."""
        self.dec = nn.ModuleDict()
        block = {**block, "decoder": True}
        cout = skips[-1]
        for level, width in reversed(list(enumerate(widths))):
            side = self.resolution >> level
            if level == len(widths) - 1:
                self.dec[f"{side}x{side}_in0"] = MPBlock(cout, cout, attention=True, **block)
                self.dec[f"{side}x{side}_in1"] = MPBlock(cout, cout, **block)
            else:
                self.dec[f"{side}x{side}_up"] = MPBlock(
                    cout, cout, resample=nn.Upsample(scale_factor=2), **block
                )
            for index in range(self.num_blocks + 1):
                attention = side in self.attn_resolutions
                name = f"{side}x{side}_block{index}"
                self.dec[name] = MPBlock(cout + skips.pop(), width, attention=attention, **block)
                cout = width

    def initialise(self, generator: torch.Generator) -> EDM2UNet:
        """Fill all parameters from one generator: normal weights, zero gains; returns self."""
        initialise_mp(self, generator)
        return self

    def embed(self, noise_label: Tensor, label: Tensor | None) -> Tensor:
        """Embedding ``[B, E]`` of the noise label ``[B]`` and integer labels ``[B]`` (-1: none)."""
        emb = self.emb_noise(self.emb_fourier(noise_label))
        if self.emb_label is not None:
            rows = one_hot(label, self.label_dim, emb) * math.sqrt(self.label_dim)
            emb = mp_sum(emb, self.emb_label(rows), self.label_share)
        return mp_silu(emb)

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """Outputs of all encoder blocks, top first; the last one is the bottleneck feature."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        skips: list[Tensor] = []
        for block in self.enc.values():
            x = block(x, emb) if isinstance(block, MPBlock) else block(x)
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
            x = block(mp_cat(x, skips.pop(), self.skip_share) if "block" in name else x, emb)
        return self.out_conv(x, self.out_gain)
