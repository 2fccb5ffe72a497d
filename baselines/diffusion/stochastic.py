"""Samplers that add noise on the way, with the signature of ``baselines.diffusion.samplers``.

``(denoiser, x, sigmas, cond) -> x0``: levels descend to 0, ``x`` has the scale of the first; state is fp64,
the network sees the dtype of ``x``. Noise of step i, counted from 1, comes from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.samplers import Denoise


class StepNoise(Protocol):
    """Unit-variance noise of a batch by step (``SampleNoise`` or ``SeededNoise``)."""

    def at(self, step: int) -> Tensor: ...


def same(sigma: float) -> float:
    """A network that was trained for every level."""
    return sigma


@dataclass(frozen=True)
class StochasticHeun:
    """EDM's algorithm 2: raise the noise a little, then one Heun step from there. ``churn`` 0 is ``heun``.

    Attributes:
        noise: of the steps.
        churn: S_churn, noise added over all steps together; a step raises sigma by at most a factor sqrt(2).
        lowest, highest: S_min and S_max, levels between which noise is added.
        scale: S_noise, standard deviation of what is added.
        nearest: the level nearest to one that the network was trained for.
    """

    noise: StepNoise
    churn: float = 0.0
    lowest: float = 0.0
    highest: float = math.inf
    scale: float = 1.0
    nearest: Callable[[float], float] = same

    def raised(self, sigma: float, steps: int) -> float:
        """The level from which a step that begins at sigma is taken."""
        if not self.lowest <= sigma <= self.highest:
            return self.nearest(sigma)
        return self.nearest(sigma * (1 + min(self.churn / steps, math.sqrt(2) - 1)))

    def __call__(self, denoiser: Denoise, x: Tensor, sigmas: Tensor, cond: Cond | None = None) -> Tensor:
        dtype, state, steps = x.dtype, x.double(), len(sigmas) - 1
        for step, (sigma, lower) in enumerate(zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True), 1):
            upper = self.raised(sigma, steps)
            added = math.sqrt(max(upper**2 - sigma**2, 0.0)) * self.scale
            # drawn at every step, as EDM's per-sample generators are
            state = state + added * self.noise.at(step).double()
            slope = (state - denoiser(state.to(dtype), upper, cond).double()) / upper
            proposal = state + (lower - upper) * slope
            if lower > 0:
                slope_there = (proposal - denoiser(proposal.to(dtype), lower, cond).double()) / lower
                proposal = state + (lower - upper) * (slope + slope_there) / 2
            state = proposal
        return state.to(dtype)


@dataclass(frozen=True)
class DDIM:
    """DDIM with noise (Song et al., 2021, eq. 16); ``eta`` 0 is Euler in sigma, 1 is ancestral sampling.

    Attributes:
        noise: of the steps.
        eta: share of the posterior's standard deviation that is drawn anew, 0..1.
    """

    noise: StepNoise
    eta: float = 0.0

    def __call__(self, denoiser: Denoise, x: Tensor, sigmas: Tensor, cond: Cond | None = None) -> Tensor:
        dtype, state = x.dtype, x.double()
        for step, (sigma, lower) in enumerate(zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True), 1):
            x0 = denoiser(state.to(dtype), sigma, cond).double()
            fresh = self.eta * lower / sigma * math.sqrt(sigma**2 - lower**2)
            kept = math.sqrt(lower**2 - fresh**2) / sigma
            state = x0 + kept * (state - x0) + fresh * self.noise.at(step).double()
        return state.to(dtype)
