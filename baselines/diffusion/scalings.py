"""Scalings of the published networks besides EDM's own: VP, VE, improved DDPM, and OpenAI's noise labels.

Each gives the coefficients of ``D = c_skip x + c_out F(c_in x, c_noise)`` and the noise levels that its
network was trained for: ``sigma_min``, ``sigma_max`` and ``nearest``.
Source: EDM (Karras et al., 2022) table 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from baselines.diffusion.denoiser import Scaling
from baselines.diffusion.noise import KarrasGrid


class NoisePrediction:
    """Coefficients of networks that predict the noise at ``x / sqrt(1 + sigma^2)``."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        return -sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        return 1 / (sigma**2 + 1).sqrt()


@dataclass(frozen=True)
class VPScaling(NoisePrediction):
    """Variance preserving (DDPM++ of Song et al.): F predicts the noise at ``x / sqrt(1 + sigma^2)``.

    Attributes:
        beta_d, beta_min: slope and start of the linear noise rate; time runs over 0..1.
        timesteps: of the discrete process, in which the network counts time.
        epsilon: smallest time seen in training.
    """

    beta_d: float = 19.9
    beta_min: float = 0.1
    timesteps: int = 1000
    epsilon: float = 1e-5

    def sigma(self, time: Tensor) -> Tensor:
        """Noise level at a time in 0..1."""
        return (self.beta_d * time**2 / 2 + self.beta_min * time).expm1().sqrt()

    def time(self, sigma: Tensor) -> Tensor:
        """Time at a noise level (``1 + sigma^2`` is rounded first, as the networks were asked)."""
        rate = self.beta_min**2 + 2 * self.beta_d * (1 + sigma**2).log()
        return (rate.sqrt() - self.beta_min) / self.beta_d

    @property
    def sigma_min(self) -> float:
        return float(self.sigma(torch.tensor(self.epsilon, dtype=torch.float64)))

    @property
    def sigma_max(self) -> float:
        return float(self.sigma(torch.tensor(1.0, dtype=torch.float64)))

    def c_noise(self, sigma: Tensor) -> Tensor:
        return (self.timesteps - 1) * self.time(sigma)


@dataclass(frozen=True)
class VEScaling:
    """Variance exploding (NCSN++ of Song et al.): F predicts minus the noise, at x itself."""

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def c_skip(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        return sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return (sigma / 2).log()


@dataclass(frozen=True)
class IDDPMScaling(NoisePrediction):
    """Improved DDPM (Nichol and Dhariwal, 2021): F predicts the noise, time is the index of a level.

    Attributes:
        c_1: smallest ratio of neighbouring alpha-bars; c_2: offset of the cosine schedule.
        timesteps: number of levels.
    """

    c_1: float = 0.001
    c_2: float = 0.008
    timesteps: int = 1000

    @cached_property
    def levels(self) -> Tensor:
        """The ``timesteps + 1`` descending noise levels, the last one 0 (``u`` of published checkpoints)."""
        steps = torch.arange(self.timesteps + 1)
        alpha_bar = (0.5 * math.pi * steps / self.timesteps / (self.c_2 + 1)).sin() ** 2
        ratio = (alpha_bar[:-1] / alpha_bar[1:]).clamp(min=self.c_1)
        levels = [torch.zeros(())]
        for step in range(self.timesteps - 1, -1, -1):
            levels.append(((levels[-1] ** 2 + 1) / ratio[step] - 1).sqrt())
        return torch.stack(levels).flip(0)

    @property
    def sigma_min(self) -> float:
        return float(self.levels[-2])

    @property
    def sigma_max(self) -> float:
        return float(self.levels[0])

    def index(self, sigma: Tensor) -> Tensor:
        """Index of the nearest level, same shape."""
        levels = self.levels.to(sigma.device)
        return (sigma.float()[..., None] - levels).abs().argmin(-1)

    def nearest(self, sigma: Tensor) -> Tensor:
        """The nearest level, in sigma's shape and precision."""
        return self.levels.to(sigma.device)[self.index(sigma)].to(sigma.dtype)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return (self.timesteps - 1 - self.index(sigma)).to(sigma.dtype)


@dataclass(frozen=True)
class OpenAILabels:
    """Another scaling with the noise labels of OpenAI's consistency models: ``250 ln sigma``.

    Their teachers use EDM's coefficients, their students those of ``BoundaryScaling``.
    """

    scaling: Scaling

    def c_skip(self, sigma: Tensor) -> Tensor:
        return self.scaling.c_skip(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        return self.scaling.c_out(sigma)

    def c_in(self, sigma: Tensor) -> Tensor:
        return self.scaling.c_in(sigma)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return 1000 * 0.25 * (sigma + 1e-44).log()


def supported_levels(scaling: Scaling, grid: KarrasGrid, steps: int) -> Tensor:
    """Levels of a ``steps``-step sampler that a network was trained for, then 0; fp64 ``[steps + 1]``.

    The grid is narrowed to the scaling's range, and each level moved to the nearest trained one where
    training was discrete. EDM's own scaling supports every level.
    """
    narrow = KarrasGrid(
        max(grid.sigma_min, getattr(scaling, "sigma_min", 0.0)),
        min(grid.sigma_max, getattr(scaling, "sigma_max", math.inf)),
        grid.rho,
    )
    sigmas = narrow.solver(steps)
    nearest = getattr(scaling, "nearest", None)
    return sigmas if nearest is None else torch.cat([nearest(sigmas[:-1]), sigmas[-1:]])
