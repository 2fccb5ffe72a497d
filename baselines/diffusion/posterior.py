"""The posterior step of the diffusion, and the pairs of levels it connects in moment matching.

For ``x_sigma = x + sigma n`` and ``sigma_s < sigma_t``: ``q(z_s | z_t, x)`` is Gaussian with mean
``r z_t + (1 - r) x`` and variance ``sigma_s^2 (1 - r)``, where ``r = sigma_s^2 / sigma_t^2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.diffusion.noise import Grid
from baselines.diffusion.samplers import Denoise

if TYPE_CHECKING:
    from baselines.distiller import Draws


def posterior(z: Tensor, x: Tensor, sigma_t: Tensor, sigma_s: Tensor, noise: Tensor) -> Tensor:
    """A draw of ``q(z_s | z_t = z, x)``, computed in fp64 and returned in z's dtype.

    Args:
        z, x, noise: ``[B, ...]``; noise has unit variance.
        sigma_t, sigma_s: levels ``[B]`` or scalar with ``sigma_s <= sigma_t``; equal levels return z.
    """
    wide = z.double()
    level = per_sample(sigma_s, wide)
    ratio = ((level / per_sample(sigma_t, wide)) ** 2).clamp(max=1)
    step = ratio * wide + (1 - ratio) * x.double() + level * (1 - ratio).sqrt() * noise.double()
    return step.to(z.dtype)


@dataclass(frozen=True)
class Transition:
    """Data noised to ``z`` at sigma_t, with the lower level and the noise of its posterior step.

    Attributes:
        x0, z, noise: clean data, noised data and unit noise, ``[B, ...]``.
        sigma_t, sigma_s: fp64 levels ``[B]``.
        cond: condition of the data.
    """

    x0: Tensor
    z: Tensor
    noise: Tensor
    sigma_t: Tensor
    sigma_s: Tensor
    cond: Cond

    def estimate(self, denoiser: Denoise) -> Tensor:
        """``x_hat(z_t, t)``."""
        return denoiser(self.z, self.sigma_t, self.cond)

    def land(self, x: Tensor) -> tuple[Tensor, Tensor, Cond]:
        """``z_s ~ q(z_s | z_t = z, x)``, without gradient in x; with its level and condition."""
        z_s = posterior(self.z, x.detach(), self.sigma_t, self.sigma_s, self.noise)
        return z_s, self.sigma_s, self.cond


@dataclass(frozen=True)
class StepPairs:
    """Law of the levels of one of ``steps`` uniform steps in the grid's time (0 is sigma_min, 1 sigma_max).

    ``s ~ U(0, 1)``, ``t = min(s + delta, 1)``, ``delta ~ U(0, 1/steps)``; so ``P(t = 1) = 1 / (2 steps)``.
    """

    grid: Grid
    steps: int

    def __call__(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """``(sigma_s, sigma_t)`` ``[B]`` in fp64 from two uniforms ``[B]``."""
        s = u.double()
        t = (s + v.double() / self.steps).clamp(max=1)
        return self.grid(1 - s), self.grid(1 - t)

    def draw(self, x0: Tensor, cond: Cond, draws: Draws) -> Transition:
        """Data noised to t, ready to step to s; drawn in the order s, t - s, noise, noise of the step."""
        sigma_s, sigma_t = self(draws.uniform(len(x0)), draws.uniform(len(x0)))
        z = x0 + per_sample(sigma_t, x0) * draws.normal(*x0.shape)
        return Transition(x0, z, draws.normal(*x0.shape), sigma_t, sigma_s, cond)
