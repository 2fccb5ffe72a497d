"""Distribution matching, shared by DMD and DMD2: descends the KL between noised generated and real data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.distiller import Draws, Network
from baselines.fake_score import SigmaLaw
from baselines.losses import dmd_gradient, injected_gradient


@dataclass(frozen=True)
class DistributionMatching:
    """Where the gradient of ``KL(p_fake,sigma || p_real,sigma)`` comes from (DMD, algorithm 2).

    Attributes:
        real: the teacher's denoiser.
        fake: denoiser of the generated samples.
        law: of the noise level at which the two are compared.
    """

    real: Network
    fake: Network
    law: SigmaLaw

    def loss(self, x_g: Tensor, cond: Cond, draws: Draws) -> Tensor:
        """Scalar surrogate with gradient in ``x_g [B, ...]`` only: neither denoiser is differentiated.

        One (sigma, noise) per sample, drawn in that order; both networks see the same noisy x.
        """
        with torch.no_grad():
            sigma = self.law.sample(draws, len(x_g))
            x = x_g + per_sample(sigma, x_g) * draws.normal(*x_g.shape)
            gradient = dmd_gradient(x_g, self.real(x, sigma, cond), self.fake(x, sigma, cond))
        return injected_gradient(x_g, gradient)
