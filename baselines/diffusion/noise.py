"""Laws of the noise level: the Karras grid and the training distributions of the papers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KarrasGrid:
    """Noise levels spaced as in EDM eq. 5.

    Attributes:
        sigma_min, sigma_max: ends of the range, in data units.
        rho: curvature of the spacing.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __call__(self, u: Tensor) -> Tensor:
        """Noise level in fp64 at position u in [0, 1]; u = 0 is sigma_max, u = 1 is sigma_min."""
        top, bottom = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (top + u.double() * (bottom - top)) ** self.rho

    def nodes(self, intervals: int) -> Tensor:
        """``intervals + 1`` descending nodes; both ends are the literals sigma_max and sigma_min."""
        sigmas = self(torch.arange(intervals + 1, dtype=torch.float64) / intervals)
        sigmas[0], sigmas[-1] = self.sigma_max, self.sigma_min
        return sigmas

    def solver(self, steps: int) -> Tensor:
        """Levels of a ``steps``-step sampler: ``steps`` nodes from sigma_max to sigma_min, then 0 (EDM)."""
        nodes = self.nodes(steps - 1) if steps > 1 else torch.tensor([self.sigma_max], dtype=torch.float64)
        return torch.cat([nodes, nodes.new_zeros(1)])


def lognormal_sigma(batch: int, generator: torch.Generator, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """EDM training law ``ln sigma ~ N(mean, std^2)``, ``[batch]`` in fp32 on the generator's device."""
    return (torch.randn(batch, generator=generator, device=generator.device) * std + mean).exp()


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """EDM loss weight ``(sigma^2 + sigma_data^2) / (sigma sigma_data)^2``: 1 / c_out^2."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
