"""Layers shared by the published U-Nets; parameter names and arithmetic follow EDM's released checkpoints.

Parameters are created empty: ``initialise`` of the network fills them from a named random stream, so that
building a network never touches the global generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """Affine map ``[..., in] -> [..., out]`` with a Xavier-uniform gain kept for initialisation."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Conv2d(nn.Module):
    """Convolution with optional x2 resampling before the kernel (EDM ``Conv2d``); kernel 0 only resamples.

    Shapes: ``[B, in, H, W] -> [B, out, H', W']`` with H' = H, H/2 (down) or 2H (up).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        resample_filter: Sequence[int] = (1, 1),
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.gain, self.up, self.down, self.kernel = gain, up, down, kernel
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.zeros(out_channels)) if kernel else None
        if up or down:
            taps = torch.tensor(resample_filter, dtype=torch.float32)
            self.register_buffer("resample_filter", (taps.outer(taps) / taps.sum() ** 2)[None, None])
        else:
            self.resample_filter: Tensor | None = None

    def resample(self, x: Tensor) -> Tensor:
        """Double or halve the resolution with the separable filter."""
        taps, channels = self.resample_filter, x.shape[1]
        if taps is None:
            return x
        if taps.shape[-1] == 2:  # the box filter has much faster special cases, equal to rounding
            return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else F.avg_pool2d(x, 2)
        pad = (taps.shape[-1] - 1) // 2
        kernel = taps.to(x.dtype).tile(channels, 1, 1, 1)
        if self.up:
            return F.conv_transpose2d(x, kernel * 4, groups=channels, stride=2, padding=pad)
        return F.conv2d(x, kernel, groups=channels, stride=2, padding=pad)

    def forward(self, x: Tensor) -> Tensor:
        x = self.resample(x)
        return x if self.weight is None else F.conv2d(x, self.weight, self.bias, padding=self.kernel // 2)


class GroupNorm(nn.GroupNorm):
    """Group normalisation with at least four channels a group (at most 32 groups)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(min(32, channels // 4), channels, eps=eps)


class PositionalEmbedding(nn.Module):
    """Cosines and sines of the noise label ``[B] -> [B, channels]`` (DDPM++; the last frequency is 1e-4)."""

    def __init__(self, channels: int, endpoint: bool = True) -> None:
        super().__init__()
        self.frequencies: Tensor
        half = channels // 2
        exponent = torch.arange(half, dtype=torch.float32) / (half - int(endpoint))
        self.register_buffer("frequencies", (1 / 10000) ** exponent, persistent=False)

    def forward(self, noise_label: Tensor) -> Tensor:
        angle = noise_label.outer(self.frequencies.to(noise_label.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class UNetBlock(nn.Module):
    """Residual block with noise embedding and optional self-attention (EDM ``UNetBlock``, DDPM++ settings).

    Shapes: ``x [B, in, H, W], emb [B, E] -> [B, out, H', W']``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        *,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
        dropout: float = 0.0,
        skip_scale: float = math.sqrt(0.5),
        eps: float = 1e-6,
        resample_filter: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__()
        self.dropout, self.skip_scale = dropout, skip_scale
        resampling: dict[str, Any] = {"up": up, "down": down, "resample_filter": resample_filter}
        self.norm0 = GroupNorm(in_channels, eps)
        self.conv0 = Conv2d(in_channels, out_channels, 3, **resampling)
        self.affine = Linear(emb_channels, out_channels)
        self.norm1 = GroupNorm(out_channels, eps)
        self.conv1 = Conv2d(out_channels, out_channels, 3, gain=1e-5)
        needs_skip = out_channels != in_channels or up or down
        self.skip = Conv2d(in_channels, out_channels, 1, **resampling) if needs_skip else None
        self.attention = attention
        if attention:
            self.norm2 = GroupNorm(out_channels, eps)
            self.qkv = Conv2d(out_channels, 3 * out_channels, 1, gain=math.sqrt(0.2))
            self.proj = Conv2d(out_channels, out_channels, 1, gain=1e-5)

    def attend(self, x: Tensor) -> Tensor:
        """One-head self-attention over positions, residual and scaled."""
        batch, channels, height, width = x.shape
        # [B, C, 3, L]: the channels of q, k and v are interleaved in the published weights
        qkv = self.qkv(self.norm2(x)).reshape(batch, channels, 3, height * width)
        q, k, v = (t.transpose(1, 2) for t in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return (self.proj(mixed) + x) * self.skip_scale

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        h = F.silu(self.norm1(h + self.affine(emb)[:, :, None, None]))
        h = self.conv1(F.dropout(h, p=self.dropout, training=self.training))
        x = (h + (x if self.skip is None else self.skip(x))) * self.skip_scale
        return self.attend(x) if self.attention else x


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fill every ``Linear`` and ``Conv2d`` weight with Xavier-uniform values times its gain; biases are zero.

    The draw order is the order of ``module.modules()``; the source of the law is EDM ``weight_init``.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, Linear | Conv2d) and layer.weight is not None:
                field = layer.weight[0][0].numel() if layer.weight.ndim == 4 else 1
                bound = math.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
                layer.weight.uniform_(-bound, bound, generator=generator).mul_(layer.gain)
