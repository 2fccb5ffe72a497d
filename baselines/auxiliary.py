"""The two forms of moment matching's auxiliary denoiser phi, and how far each is from the teacher theta.

A network of its own, or theta after one infinitesimal, preconditioned step in weight space. Both give
``error``, what fits phi to estimates of x, and ``difference``, that is g_phi - g_theta, without a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.distiller import Network


@dataclass(frozen=True)
class Auxiliary:
    """A trained network phi, pulled to theta."""

    network: Network
    theta: Network

    def evaluate(self, z: Tensor, sigma: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
        """F_phi, and ``g_phi - g_theta = c_out (F_phi - F_theta)``, in which c_skip z need not cancel."""
        f_phi, f_theta = self.network.raw(z, sigma, cond), self.theta.raw(z, sigma, cond)
        return f_phi, self.network.plain.scaling.c_out(per_sample(sigma, z)) * (f_phi - f_theta)

    def error(self, x_hat: Tensor, z: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        """``(x_hat - g_phi)^2 + (g_phi - g_theta)^2``, ``[B, ...]``, from one evaluation of each network."""
        f_phi, pull = self.evaluate(z, sigma, cond)
        return (x_hat - self.network.plain.assemble(f_phi, z, sigma)) ** 2 + pull**2

    @torch.no_grad()
    def difference(self, z: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        """``g_phi - g_theta`` at noisy z, ``[B, ...]``."""
        return self.evaluate(z, sigma, cond)[1]


class InfinitesimalStep:
    """``g_(theta + lambda nu) - g_theta = lambda J_theta nu`` with ``nu = -Lambda grad L``, per unit lambda.

    Lambda is Adam's ``1 / (sqrt(v) + 1e-8)``, v the mean squared gradient over the measured batches; the
    identity if there are none.

    Args:
        network: theta; its weights need gradients and are never changed.
        batches: how many losses ``measure`` will be given.
    """

    def __init__(self, network: Network, batches: int) -> None:
        self.network, self.batches = network, batches
        self.weights = dict(network.plain.named_parameters())
        self.squares: dict[str, Any] = dict.fromkeys(self.weights, 0.0) if batches else {}
        self.nu: dict[str, Tensor] = {}

    def gradient(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradient of a loss in the weights; zero for weights that it does not use."""
        weights = list(self.weights.values())
        grads = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        return dict(zip(self.weights, grads, strict=True))

    def measure(self, loss: Tensor) -> None:
        """Take one more batch into v."""
        for name, grad in self.gradient(loss).items():
            self.squares[name] = self.squares[name] + grad**2 / self.batches

    def follow(self, loss: Tensor) -> None:
        """Set nu to the step that descends this loss."""
        grads = self.gradient(loss)
        if self.batches:
            grads = {name: grad / (self.squares[name].sqrt() + 1e-8) for name, grad in grads.items()}
        self.nu = {name: -grad for name, grad in grads.items()}

    def error(self, x_hat: Tensor, z: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        """``(x_hat - g_theta)^2``, ``[B, ...]``."""
        return (x_hat - self.network(z, sigma, cond)) ** 2

    def difference(self, z: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        """``J_theta(z; sigma) nu``, ``[B, ...]``."""
        return self.network.jvp(self.nu, z, sigma, cond)
