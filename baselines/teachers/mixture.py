"""Exact teacher: the closed-form denoiser of a mixture of isotropic Gaussians, and the net fitted to it."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.datasets.mixtures import Mixture
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling, per_sample
from baselines.networks.mlp import ResidualMLP
from baselines.streams import torch_generator
from baselines.teachers.training import DenoiserTraining, TeacherRecipe

RECIPE = TeacherRecipe(iterations=4_000, batch=1024, lr=2e-3, p_mean=-1.0, p_std=1.8, ema_half_life=100_000)


class ExactMixture(Denoiser):
    """``D(x, sigma) = E[x0 | x]`` for ``x0 ~ sum_k w_k N(mean_k, std^2 I)``; differentiable in x.

    Per component the posterior mean is ``mean_k + kappa (x - mean_k)`` with
    ``kappa = std^2 / (std^2 + sigma^2)``; responsibilities weigh them.
    There is no raw network inside: ``raw`` inverts the EDM scaling.
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__(torch.nn.Identity(), EDMScaling(0.5))
        self.means: Tensor
        self.log_weights: Tensor
        self.std = mixture.std
        self.register_buffer("means", torch.as_tensor(mixture.means, dtype=torch.float64))
        self.register_buffer("log_weights", torch.as_tensor(mixture.weights, dtype=torch.float64).log())

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        level = per_sample(sigma, x)
        means, log_weights = self.means.to(x.dtype), self.log_weights.to(x.dtype)
        variance = self.std**2 + level**2  # [B, 1]
        offsets = x[:, None] - means  # [B, K, d]
        logits = log_weights - offsets.square().sum(-1) / (2 * variance)
        expected = logits.softmax(-1) @ means  # [B, d]
        kappa = self.std**2 / variance
        return expected + kappa * (x - expected)

    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        level = per_sample(sigma, x)
        return (self(x, sigma, cond) - self.scaling.c_skip(level) * x) / self.scaling.c_out(level)

    def features(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError("a closed-form denoiser has no encoder features; use teacher.net")


def mixture_denoiser(dimension: int = 2) -> Denoiser:
    """The architecture of the fitted teacher and of its students, weights not yet set."""
    return Denoiser(ResidualMLP(dimension, width=128, depth=4), EDMScaling(0.5))


def mixture_training(mixture: Mixture, recipe: TeacherRecipe = RECIPE) -> DenoiserTraining:
    """Fit of the net to the closed form: noisy states from the data law, targets from ``ExactMixture``."""
    exact, denoiser = ExactMixture(mixture), mixture_denoiser(mixture.dimension)
    denoiser.model.initialise(torch_generator(recipe.seed, "init"))  # type: ignore[operator]

    def draw(iteration: int) -> tuple[Tensor, Cond]:
        return mixture.batch(recipe.seed, iteration, recipe.batch)

    def target(x0: Tensor, x: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        with torch.no_grad():
            return exact(x, sigma, cond)

    return DenoiserTraining(denoiser, recipe, draw, target)
