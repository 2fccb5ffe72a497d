"""Few-step generators: what a trained student does at sampling time. Each states its paper's sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.noise import EDM_GRID, Grid
from baselines.diffusion.posterior import posterior
from baselines.diffusion.samplers import Sampler, euler, solver_nfe
from baselines.distiller import Noise

Denoise = Callable[[Tensor, Tensor | float, Cond | None], Tensor]


def serve(students: Mapping[int, Any], nfe: int) -> Denoise:
    """The network that serves a step count.

    Raises:
        ValueError: no network was trained for it.
    """
    if nfe not in students:
        raise ValueError(f"no student serves {nfe} steps; served: {', '.join(map(str, sorted(students)))}")
    return students[nfe]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class OneStep:
    """``x = D(sigma_init z, sigma_init, cond)``: SiD (2.5) and DMD (sigma_max); the grid scales the noise."""

    students: Mapping[int, Any]
    sigma_init: float
    grid: Grid = EDM_GRID

    def sample(self, noise: Noise, cond: Cond, nfe: int) -> Tensor:
        x = noise.initial() * self.grid.start(self.sigma_init)
        return serve(self.students, nfe)(x, self.sigma_init, cond)


@dataclass(frozen=True)
class KarrasLadder:
    """PD: deterministic Euler (DDIM) on the student's own ladder, from sigma_max to sigma_min."""

    students: Mapping[int, Any]
    grid: Grid

    def sample(self, noise: Noise, cond: Cond, nfe: int) -> Tensor:
        return euler(
            serve(self.students, nfe),
            noise.initial() * self.grid.start(self.grid.sigma_max),
            self.grid.nodes(nfe),
            cond,
        )


@dataclass(frozen=True)
class RenoisingSteps:
    """Predict, noise, predict again: ``x_hat = G(x, sigma_i); x = x_hat + sigma_{i+1} eps`` (DMD2, LCM).

    Attributes:
        levels: descending noise levels of an N-step sampler, N of them.
        floor: noise already in a prediction; ``sqrt(sigma^2 - floor^2)`` is added (CM: sigma_min).
        grid: scales the first noise.
    """

    students: Mapping[int, Any]
    levels: Callable[[int], Sequence[float]]
    floor: float = 0.0
    grid: Grid = EDM_GRID

    def sample(self, noise: Noise, cond: Cond, nfe: int) -> Tensor:
        student, levels = serve(self.students, nfe), self.levels(nfe)
        x_hat = student(noise.initial() * self.grid.start(levels[0]), levels[0], cond)
        for step, sigma in enumerate(levels[1:], start=1):
            added = math.sqrt(sigma**2 - self.floor**2)
            x_hat = student(x_hat + added * noise.at(step), sigma, cond)
        return x_hat


def dmd2_levels(grid: Grid, steps: int) -> list[float]:
    """DMD2's N levels: indices 999, 999 - 1000 // N, ... of 1000 (N = 2: 80 and 2.5; timesteps 999, 499)."""
    index = torch.arange(999, 0, -(1000 // steps), dtype=torch.float64)[:steps]
    return [grid.sigma_max, *grid(1 - index[1:] / 999).tolist()]


@dataclass(frozen=True)
class Ancestral:
    """MM: predict x_hat, draw ``q(z_{i+1} | z_i, x_hat)``, and so on; the last x_hat is the sample.

    Levels are uniform in Karras time: ``grid(i / k)``, i = 0 .. k - 1.
    """

    students: Mapping[int, Any]
    grid: Grid

    def sample(self, noise: Noise, cond: Cond, nfe: int) -> Tensor:
        student, sigmas = serve(self.students, nfe), self.grid.nodes(nfe)
        z = noise.initial() * self.grid.start(self.grid.sigma_max)
        for i in range(nfe - 1):
            x_hat = student(z, sigmas[i], cond)
            z = posterior(z, x_hat, sigmas[i], sigmas[i + 1], noise.at(i + 1))
        return student(z, sigmas[nfe - 1], cond)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ODESolver:
    """The teacher itself under a plain solver: the row every student has to beat."""

    denoiser: Denoise
    grid: Grid
    name: str
    solver: Sampler

    def sample(self, noise: Noise, cond: Cond, nfe: int) -> Tensor:
        steps = (nfe + 1) // 2 if self.name == "heun" else nfe
        if solver_nfe(self.name, steps) != nfe:
            raise ValueError(
                f"{self.name} cannot spend exactly {nfe} evaluations; the nearest is {2 * steps - 1}"
            )
        return self.solver(
            self.denoiser,
            noise.initial() * self.grid.start(self.grid.sigma_max),
            self.grid.solver(steps),
            cond,
        )
