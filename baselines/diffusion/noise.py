"""Laws of the noise level: the Karras grid and the training distributions of the papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from baselines.diffusion.denoiser import BoundaryScaling, Scaling

if TYPE_CHECKING:
    from baselines.distiller import Draws


class Grid(Protocol):
    """The noise levels of a space and what a diffusion process says of them: EDM's, or a timestep model's.

    ``u`` in [0, 1] runs from the highest level to the lowest. ``KarrasGrid`` documents the calls.
    """

    @property
    def sigma_min(self) -> float: ...
    @property
    def sigma_max(self) -> float: ...
    @property
    def floor(self) -> float: ...
    def __call__(self, u: Tensor) -> Tensor: ...
    def nodes(self, intervals: int) -> Tensor: ...
    def solver(self, steps: int) -> Tensor: ...
    def aligned(self, fine: int, skip: int) -> Tensor: ...
    def start(self, sigma: float) -> float: ...
    def consistency(self, sigma_data: float) -> Scaling: ...


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

    def aligned(self, fine: int, skip: int) -> Tensor:
        """Every ``skip``-th node of a grid of ``fine`` intervals, descending: where LCM trains."""
        return self.nodes(fine)[::skip]

    def start(self, sigma: float) -> float:
        """Standard deviation of the pure noise that a generator is given at a level."""
        return sigma

    def consistency(self, sigma_data: float) -> Scaling:
        """Scaling of a student that maps every level to the end of its trajectory."""
        return BoundaryScaling(sigma_data, self.sigma_min)

    @property
    def floor(self) -> float:
        """Noise level that such a student's estimates carry."""
        return self.sigma_min


def lognormal_sigma(batch: int, generator: torch.Generator, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """EDM training law ``ln sigma ~ N(mean, std^2)``, ``[batch]`` in fp32 on the generator's device."""
    return (torch.randn(batch, generator=generator, device=generator.device) * std + mean).exp()


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """EDM loss weight ``(sigma^2 + sigma_data^2) / (sigma sigma_data)^2``: 1 / c_out^2."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


class SigmaLaw(Protocol):
    """A distribution of noise levels."""

    def sample(self, draws: Draws, count: int) -> Tensor:
        """Levels ``[count]`` in fp32."""


@dataclass(frozen=True)
class LognormalLaw:
    """``ln sigma ~ N(mean, std^2)``, untruncated (EDM; SiD's fake score)."""

    mean: float = -1.2
    std: float = 1.2

    def sample(self, draws: Draws, count: int) -> Tensor:
        return (draws.normal(count) * self.std + self.mean).exp()


EDM_GRID, EDM_LAW = KarrasGrid(), LognormalLaw()  # of EDM's pixel models
