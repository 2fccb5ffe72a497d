"""A small residual MLP for low-dimensional data, with the same call as the U-Nets."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.layers import Linear, initialise

WAVES = 3  # octaves of the input coordinates, from a quarter of a period a unit


class ResidualMLP(nn.Module):
    """Raw network ``F(x [B, d], noise_label [B], label ignored) -> [B, d]``.

    Args:
        dimension: d.
        width: of the hidden state.
        depth: residual blocks.
    """

    def __init__(self, dimension: int, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        self.frequencies: Tensor
        # c_noise = ln(sigma)/4 spans about [-1.6, 1.1]: octaves from half a period to 2^6 periods over it
        self.register_buffer("frequencies", math.pi / 2 * 2.0 ** torch.arange(6), persistent=False)
        self.noise_in = Linear(12, width)
        # coordinates and their sines: without them sharp maps (noise to modes) are learnt very slowly
        self.scales: Tensor
        self.register_buffer("scales", math.pi / 2 * 2.0 ** torch.arange(WAVES), persistent=False)
        self.x_in = Linear(dimension * (1 + 2 * WAVES), width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.up = nn.ModuleList(Linear(width, width) for _ in range(depth))
        self.noise = nn.ModuleList(Linear(width, width, gain=0.5) for _ in range(depth))
        self.down = nn.ModuleList(Linear(width, width, gain=0.1) for _ in range(depth))
        self.out = Linear(width, dimension, gain=1e-2)

    def initialise(self, generator: torch.Generator) -> ResidualMLP:
        """Fill all parameters from one generator; returns self."""
        initialise(self, generator)
        return self

    def features(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None) -> Tensor:
        """Last hidden state ``[B, width]``."""
        angle = noise_label[:, None] * self.frequencies.to(noise_label.dtype)
        emb = F.silu(self.noise_in(torch.cat([angle.cos(), angle.sin()], dim=1)))
        waves = (x[:, :, None] * self.scales.to(x.dtype)).flatten(1)
        h = self.x_in(torch.cat([x, waves.sin(), waves.cos()], dim=1))
        for norm, up, noise, down in zip(self.norms, self.up, self.noise, self.down, strict=True):
            h = h + down(F.silu(up(norm(h)) + noise(emb)))
        return h

    def forward(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None) -> Tensor:
        return self.out(F.silu(self.features(x, noise_label, label)))  # type: ignore[no-any-return]
