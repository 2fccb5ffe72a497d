"""Few-step generators: what a trained student does at sampling time. Each states its paper's sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.samplers import Sampler, euler, solver_nfe
from baselines.streams import SampleNoise

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
    """``x = D(sigma_init z, sigma_init, cond)``: SiD (2.5) and DMD (sigma_max)."""

    students: Mapping[int, Any]
    sigma_init: float

    def sample(self, noise: SampleNoise, cond: Cond, nfe: int) -> Tensor:
        return serve(self.students, nfe)(noise.initial() * self.sigma_init, self.sigma_init, cond)


@dataclass(frozen=True)
class KarrasLadder:
    """PD: deterministic Euler (DDIM) on the student's own ladder, from sigma_max to sigma_min."""

    students: Mapping[int, Any]
    grid: KarrasGrid

    def sample(self, noise: SampleNoise, cond: Cond, nfe: int) -> Tensor:
        return euler(
            serve(self.students, nfe), noise.initial() * self.grid.sigma_max, self.grid.nodes(nfe), cond
        )


@dataclass(frozen=True)
class ODESolver:
    """The teacher itself under a plain solver: the row every student has to beat."""

    denoiser: Denoise
    grid: KarrasGrid
    name: str
    solver: Sampler

    def sample(self, noise: SampleNoise, cond: Cond, nfe: int) -> Tensor:
        steps = (nfe + 1) // 2 if self.name == "heun" else nfe
        if solver_nfe(self.name, steps) != nfe:
            raise ValueError(
                f"{self.name} cannot spend exactly {nfe} evaluations; the nearest is {2 * steps - 1}"
            )
        return self.solver(
            self.denoiser, noise.initial() * self.grid.sigma_max, self.grid.solver(steps), cond
        )
