"""The one denoiser convention: ``D(x, sigma, cond) -> x0_hat`` with ``x = x0 + sigma * noise``.

A denoiser is a raw network F and a scaling object; swapping the scaling turns an EDM teacher into a
consistency student without touching F.
Sources: EDM (Karras et al., 2022) table 1, CM (Song et al., 2023) appendix C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond


class Scaling(Protocol):
    """Coefficients of ``D = c_skip x + c_out F(c_in x, c_noise)`` as functions of sigma."""

    def c_skip(self, sigma: Tensor) -> Tensor: ...
    def c_out(self, sigma: Tensor) -> Tensor: ...
    def c_in(self, sigma: Tensor) -> Tensor: ...
    def c_noise(self, sigma: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class EDMScaling:
    """EDM preconditioning; ``sigma_data`` is the standard deviation of the data the net was trained for."""

    sigma_data: float = 0.5

    def c_skip(self, sigma: Tensor) -> Tensor:
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        return sigma * self.sigma_data / (sigma**2 + self.sigma_data**2).sqrt()

    def c_in(self, sigma: Tensor) -> Tensor:
        return 1 / (sigma**2 + self.sigma_data**2).sqrt()

    def c_noise(self, sigma: Tensor) -> Tensor:
        return sigma.log() / 4


@dataclass(frozen=True)
class BoundaryScaling(EDMScaling):
    """Consistency parameterisation: EDM with sigma - sigma_min, so that D(x, sigma_min) = x exactly."""

    sigma_min: float = 0.002

    def c_skip(self, sigma: Tensor) -> Tensor:
        return self.sigma_data**2 / ((sigma - self.sigma_min) ** 2 + self.sigma_data**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        return self.sigma_data * (sigma - self.sigma_min) / (sigma**2 + self.sigma_data**2).sqrt()


def per_sample(values: Tensor | float, x: Tensor) -> Tensor:
    """A scalar or ``[B]`` tensor as ``[B, 1, ...]``, ready to broadcast over ``x [B, ...]``, in x's dtype."""
    values = torch.as_tensor(values, dtype=x.dtype, device=x.device).expand(len(x))
    return values.reshape(-1, *[1] * (x.ndim - 1))


class Denoiser(nn.Module):
    """Network plus scaling behind the house convention.

    Args:
        model: raw network ``F(x, noise_label [B], label [B] | None)``, called with what else the condition
            has by name; published names begin with ``model.``.
        scaling: preconditioning coefficients.
        body: precision of the activations inside the network (fp16, bf16), or None for that of the input.
            Weights, coefficients, input and output keep theirs.

    Attributes:
        evaluations: of the network in one call.
    """

    evaluations = 1

    def __init__(self, model: nn.Module, scaling: Scaling, body: torch.dtype | None = None) -> None:
        super().__init__()
        self.model = model
        self.scaling = scaling
        self.body = body

    def rescaled(self, scaling: Scaling) -> Denoiser:
        """The same network under another scaling."""
        return Denoiser(self.model, scaling, self.body)

    def _ask(self, function: Any, x: Tensor, sigma: Tensor | float, cond: Cond | None) -> Tensor:
        """Call a function of the network in its own units and precision."""
        level = per_sample(sigma, x)
        label, extra = (None, {}) if cond is None else (cond.label, cond.asked())
        scaled = (self.scaling.c_in(level) * x).to(self.body or x.dtype)
        return function(scaled, self.scaling.c_noise(level).flatten(), label, **extra).to(x.dtype)

    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Raw output F for noisy ``x [B, ...]`` at ``sigma`` (scalar or [B])."""
        out = self._ask(self.model, x, sigma, cond)
        # networks that predict a variance too (improved DDPM) give the mean first
        return out if out.shape == x.shape else out[:, : x.shape[1]]

    def assemble(self, raw: Tensor, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Denoised estimate from a raw output."""
        sigma = per_sample(sigma, x)
        return self.scaling.c_skip(sigma) * x + self.scaling.c_out(sigma) * raw

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Estimate of x0 ``[B, ...]`` for noisy ``x [B, ...]`` at ``sigma`` (scalar or [B])."""
        return self.assemble(self.raw(x, sigma, cond), x, sigma)

    def features(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Encoder features of the network (where DMD2 attaches its head)."""
        function: Any = self.model.features
        return self._ask(function, x, sigma, cond)
