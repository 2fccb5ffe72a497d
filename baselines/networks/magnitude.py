"""Magnitude-preserving layers of EDM2 (Karras et al., 2024; equations are that paper's).

Activations keep unit magnitude by construction: weights are normalised where they are used, sums and
concatenations are weighted, and nothing has a bias.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.attention import attend, image, interleaved_rows, tokens

EPS = 1e-4
SILU_GAIN = 1 / 0.596  # of SiLU on unit normal values, as rounded in the paper


def unit_norm(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Values divided by their root mean square along axes."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=wide)
    return x / (norm * math.sqrt(norm.numel() / x.numel()) + EPS).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """SiLU that keeps the magnitude (eq. 81)."""
    return F.silu(x) * SILU_GAIN


def mp_sum(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Weighted sum that keeps the magnitude; ``share`` of b (eq. 88)."""
    return a.lerp(b, share) / math.sqrt((1 - share) ** 2 + share**2)


def mp_cat(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Channels of both, weighted so that b contributes ``share`` and the magnitude is kept (eq. 103)."""
    total = math.sqrt((a.shape[1] + b.shape[1]) / ((1 - share) ** 2 + share**2))
    weights = (1 - share) / math.sqrt(a.shape[1]), share / math.sqrt(b.shape[1])
    return torch.cat([a * (total * weights[0]), b * (total * weights[1])], dim=1)


class MPFourier(nn.Module):
    """Random Fourier features of unit magnitude, ``[B] -> [B, channels]`` (eq. 75)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freqs: Tensor
        self.phases: Tensor
        self.register_buffer("freqs", torch.zeros(channels))
        self.register_buffer("phases", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        angle = x.to(wide).outer(self.freqs.to(wide)) + self.phases.to(wide)
        return (angle.cos() * math.sqrt(2)).to(x.dtype)


class MPConv(nn.Module):
    """Convolution (kernel 1 or 3), or linear map (kernel 0), with normalised weights and no bias (eq. 47)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        size = (kernel, kernel) if kernel else ()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *size))

    def scaled(self, dtype: torch.dtype, gain: Tensor | float = 1.0) -> Tensor:
        """The weights that are applied: rows of norm ``gain``, so that the magnitude is kept."""
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        axes = tuple(range(1, weight.ndim))
        norm = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
        return (weight * (gain / (norm + EPS * math.sqrt(weight[0].numel())))).to(dtype)

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        weight = self.scaled(x.dtype, gain)
        if weight.ndim == 2:
            return F.linear(x, weight)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


class MPBlock(nn.Module):
    """Residual block with noise embedding and optional self-attention (figure 21).

    Encoder blocks project the skip first and normalise it; decoder blocks project it last.
    """

    res_share = 0.3  # of the residual branch in the sum
    attention_share = 0.3
    clip = 256.0
    head_channels = 64

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        *,
        decoder: bool = False,
        resample: nn.Module | None = None,
        attention: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.decoder, self.dropout = decoder, dropout
        self.resample = nn.Identity() if resample is None else resample
        self.emb_gain = nn.Parameter(torch.zeros([]))
        self.conv_res0 = MPConv(in_channels if decoder else out_channels, out_channels, 3)
        self.emb_linear = MPConv(emb_channels, out_channels, 0)
        self.conv_res1 = MPConv(out_channels, out_channels, 3)
        self.conv_skip = MPConv(in_channels, out_channels, 1) if in_channels != out_channels else None
        self.heads = out_channels // self.head_channels
        self.attn_qkv = MPConv(out_channels, 3 * out_channels, 1) if attention else None
        self.attn_proj = MPConv(out_channels, out_channels, 1) if attention else None

    def attend(self, x: Tensor) -> Tensor:
        """Cosine self-attention over positions."""
        assert self.attn_qkv is not None and self.attn_proj is not None
        weight = interleaved_rows(self.attn_qkv.scaled(x.dtype).flatten(1))
        qkv = F.linear(tokens(x), weight).unflatten(2, (3, self.heads, -1))
        mixed = F.linear(attend(unit_norm(qkv, 4)), self.attn_proj.scaled(x.dtype).flatten(1))
        return mp_sum(x, image(mixed, x), self.attention_share)

    def skip(self, x: Tensor) -> Tensor:
        """The main branch in its new width."""
        return x if self.conv_skip is None else self.conv_skip(x)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        x = self.resample(x)
        if not self.decoder:
            x = unit_norm(self.skip(x), 1)
        y = self.conv_res0(mp_silu(x))
        y = mp_silu(y * (self.emb_linear(emb, self.emb_gain) + 1)[:, :, None, None].to(y.dtype))
        y = self.conv_res1(F.dropout(y, p=self.dropout, training=self.training))
        x = mp_sum(self.skip(x) if self.decoder else x, y, self.res_share)
        if self.attn_qkv is not None:
            x = self.attend(x)
        return x.clamp(-self.clip, self.clip)


@torch.no_grad()
def initialise_mp(module: nn.Module, generator: torch.Generator) -> None:
    """Standard normal weights and frequencies (in cycles); phases uniform on the circle."""
    for layer in module.modules():
        if isinstance(layer, MPConv):
            layer.weight.normal_(generator=generator)
        elif isinstance(layer, MPFourier):
            layer.freqs.normal_(generator=generator).mul_(2 * math.pi)
            layer.phases.uniform_(0, 2 * math.pi, generator=generator)


@torch.no_grad()
def normalise_weights(module: nn.Module) -> None:
    """Forced weight normalisation (eq. 66): call it after each update, before the next forward.

    It is no part of the forward, which stays free of side effects (several forwards may share a backward).
    """
    for layer in module.modules():
        if isinstance(layer, MPConv):
            layer.weight.copy_(unit_norm(layer.weight, tuple(range(1, layer.weight.ndim))))
