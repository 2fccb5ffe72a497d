"""Layers shared by the published U-Nets; parameter names and arithmetic follow EDM's released checkpoints.

Parameters are created empty: ``initialise`` of the network fills them from a named random stream, so that
building a network never touches the global generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.attention import self_attention


def like(parameter: Tensor | None, x: Tensor) -> Tensor | None:
    """A parameter in the precision of the activations (the parameter itself where they agree)."""
    return None if parameter is None else parameter.to(x.dtype)


def unset(kind: type[nn.Module], *sizes: Any, beside: Tensor, **options: Any) -> Any:
    """A layer of torch whose parameters are not drawn, so that the global generator stays.

    Nothing of it is moved or exchanged in place, as ``torch.nn.utils.skip_init`` and ``Module.to`` do: fake
    tensors refuse that while anything refers to them.

    Args:
        beside: a parameter in whose precision and on whose device they are.
    """
    layer = kind(*sizes, device="meta", **options)
    for name, parameter in list(layer.named_parameters(recurse=False)):
        values = torch.empty(parameter.shape, dtype=beside.dtype, device=beside.device)
        setattr(layer, name, nn.Parameter(values))
    return layer


class Linear(nn.Module):
    """Affine map ``[..., in] -> [..., out]`` with a Xavier-uniform gain kept for initialisation."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), like(self.bias, x))


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
        if self.weight is None:
            return x
        return F.conv2d(x, self.weight.to(x.dtype), like(self.bias, x), padding=self.kernel // 2)


class GroupNorm(nn.GroupNorm):
    """Group normalisation with at least four channels a group (at most 32 groups)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(min(32, channels // 4), channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, like(self.weight, x), like(self.bias, x), self.eps)


class PositionalEmbedding(nn.Module):
    """Cosines and sines of the noise label ``[B] -> [B, channels]``.

    Frequencies fall geometrically from 1 to 1e-4, which ``endpoint`` includes (DDPM++) or not (ADM).
    """

    def __init__(self, channels: int, endpoint: bool = True) -> None:
        super().__init__()
        self.frequencies: Tensor
        half = channels // 2
        exponent = torch.arange(half, dtype=torch.float32) / (half - int(endpoint))
        self.register_buffer("frequencies", (1 / 10000) ** exponent, persistent=False)

    def forward(self, noise_label: Tensor) -> Tensor:
        angle = noise_label.outer(self.frequencies.to(noise_label.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """Cosines and sines of the noise label at random frequencies ``[B] -> [B, channels]`` (NCSN++)."""

    SCALE: ClassVar[float] = 16.0  # standard deviation of the frequencies, in cycles per unit

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freqs: Tensor
        self.register_buffer("freqs", torch.zeros(channels // 2))

    def forward(self, noise_label: Tensor) -> Tensor:
        angle = noise_label.outer((2 * math.pi * self.freqs).to(noise_label.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class UNetBlock(nn.Module):
    """Residual block with noise embedding and optional self-attention (DDPM++ and NCSN++).

    Shapes: ``x [B, in, H, W], emb [B, E] -> [B, out, H', W']``. The class attributes are what a family fixes.
    """

    modulations: ClassVar[int] = 1  # values that the embedding gives each channel
    skip_scale: ClassVar[float] = math.sqrt(0.5)
    eps: ClassVar[float] = 1e-6
    resampling_kernel: ClassVar[int] = 1  # of the skip of a block that changes the resolution only
    head_channels: ClassVar[int | None] = None  # None: one head
    quiet_gain: ClassVar[float] = 1e-5  # of the last layer of each branch, at initialisation
    attention_gain: ClassVar[float] = math.sqrt(0.2)

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
        resample_filter: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__()
        self.dropout = dropout
        resampling: dict[str, Any] = {"up": up, "down": down, "resample_filter": resample_filter}
        self.norm0 = GroupNorm(in_channels, self.eps)
        self.conv0 = Conv2d(in_channels, out_channels, 3, **resampling)
        self.affine = Linear(emb_channels, out_channels * self.modulations)
        self.norm1 = GroupNorm(out_channels, self.eps)
        self.conv1 = Conv2d(out_channels, out_channels, 3, gain=self.quiet_gain)
        widens = out_channels != in_channels
        kernel = 1 if widens else self.resampling_kernel
        needs_skip = widens or up or down
        self.skip = Conv2d(in_channels, out_channels, kernel, **resampling) if needs_skip else None
        self.attention = attention
        if attention:
            self.heads = 1 if self.head_channels is None else out_channels // self.head_channels
            self.norm2 = GroupNorm(out_channels, self.eps)
            self.qkv = Conv2d(out_channels, 3 * out_channels, 1, gain=self.attention_gain)
            self.proj = Conv2d(out_channels, out_channels, 1, gain=self.quiet_gain)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention over positions, residual and scaled."""
        return (self_attention(self.norm2(x), self.qkv, self.proj, self.heads) + x) * self.skip_scale

    def modulate(self, h: Tensor, emb: Tensor) -> Tensor:
        """The embedding shifts the channels before the second normalisation."""
        return self.norm1(h + self.affine(emb)[:, :, None, None].to(h.dtype))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        h = F.silu(self.modulate(h, emb))
        h = self.conv1(F.dropout(h, p=self.dropout, training=self.training))
        x = (h + (x if self.skip is None else self.skip(x))) * self.skip_scale
        return self.attend(x) if self.attention else x


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fill every ``Linear`` and ``Conv2d`` weight with Xavier-uniform values times its gain; biases are zero.

    Random frequencies are drawn too.

    The draw order is the order of ``module.modules()``; the source of the law is EDM ``weight_init``.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, Linear | Conv2d) and layer.weight is not None:
                field = layer.weight[0][0].numel() if layer.weight.ndim == 4 else 1
                bound = math.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
                layer.weight.uniform_(-bound, bound, generator=generator).mul_(layer.gain)
            elif isinstance(layer, FourierEmbedding):
                layer.freqs.normal_(generator=generator).mul_(layer.SCALE)
