"""The fake score: a denoiser kept fitted to the generator's current samples. Shared by SiD, DMD, DMD2 and MM.

Its optimum is the posterior mean of the generated data for any weight; only the law of sigma, the optimiser
and how often it is updated differ between papers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.diffusion.noise import Grid, LognormalLaw, SigmaLaw
from baselines.distiller import Draws, Network
from baselines.losses import denoising_loss

__all__ = ["FakeScore", "KarrasIndexLaw", "KarrasTimeLaw", "LognormalLaw", "SigmaLaw"]


@dataclass(frozen=True)
class KarrasIndexLaw:
    """Uniform over nodes ``low .. high`` (inclusive) of a grid of 1000, 0 smallest (DMD, DMD2)."""

    grid: Grid
    low: int = 0
    high: int = 999
    bins: int = 1000

    def sample(self, draws: Draws, count: int) -> Tensor:
        index = draws.integers(self.low, self.high + 1, count)
        return self.grid(1 - index.double() / (self.bins - 1)).float()


@dataclass(frozen=True)
class KarrasTimeLaw:
    """Uniform in the grid's time ``t in [0, t_max]``; t = 0 is sigma_min, t = 1 sigma_max (SiD, MM)."""

    grid: Grid
    t_max: float = 1.0

    def sample(self, draws: Draws, count: int) -> Tensor:
        return self.grid(1 - draws.uniform(count).double() * self.t_max).float()


@dataclass(frozen=True)
class FakeScore:
    """A trainable denoiser and the law of the noise it is trained at."""

    network: Network
    law: SigmaLaw
    sigma_data: float = 0.5

    def loss(self, x_g: Tensor, cond: Cond, draws: Draws) -> Tensor:
        """EDM-weighted denoising error on generated samples (detached), per element ``[B, ...]``.

        Noise is drawn in the order sigma, then noise.
        """
        x_g = x_g.detach()
        sigma = self.law.sample(draws, len(x_g))
        x = x_g + per_sample(sigma, x_g) * draws.normal(*x_g.shape)
        return denoising_loss(self.network(x, sigma, cond), x_g, sigma, self.sigma_data)
