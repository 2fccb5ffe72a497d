"""Denoising score matching for the small teachers the suites ship (EDM loss; Karras et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, per_sample
from baselines.diffusion.noise import edm_weight, lognormal_sigma
from baselines.streams import torch_generator
from baselines.teachers.resumable import Recipe, Training

Draw = Callable[[int], tuple[Tensor, Cond]]  # iteration -> clean batch and its condition
Target = Callable[[Tensor, Tensor, Tensor, Cond], Tensor]  # x0, x, sigma, cond -> regression target


def clean_image(x0: Tensor, x: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
    """The ordinary denoising target."""
    return x0


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe(Recipe):
    """Settings of one teacher training.

    Attributes:
        p_mean, p_std: law of ln sigma.
    """

    p_mean: float = -1.2
    p_std: float = 1.2


class DenoiserTraining(Training):
    """Training of a denoiser.

    Args:
        denoiser: freshly initialised network; trained in place.
        recipe: settings.
        draw: batch of an iteration (pure, so that a resumed run repeats nothing and skips nothing).
        target: regression target; the clean image unless a closed form is known.
        held_out: data of ``held_out_loss``.
    """

    recipe: TeacherRecipe

    def __init__(
        self,
        denoiser: Denoiser,
        recipe: TeacherRecipe,
        draw: Draw,
        target: Target = clean_image,
        held_out: Callable[[], tuple[Tensor, Cond]] | None = None,
    ) -> None:
        super().__init__(denoiser, recipe)
        self.draw, self.target, self.held_out = draw, target, held_out
        self.sigma_data = float(getattr(denoiser.scaling, "sigma_data", 0.5))

    def loss(self, denoiser: nn.Module, x0: Tensor, cond: Cond, generator: torch.Generator) -> Tensor:
        """EDM loss: mean over pixels and batch of ``lambda(sigma) ||D(x0 + sigma n) - target||^2``."""
        sigma = lognormal_sigma(len(x0), generator, self.recipe.p_mean, self.recipe.p_std)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device)
        x = x0 + per_sample(sigma, x0) * noise
        weight = per_sample(edm_weight(sigma, self.sigma_data), x0)
        return (weight * (denoiser(x, sigma, cond) - self.target(x0, x, sigma, cond)) ** 2).mean()

    def batch_loss(self) -> Tensor:
        x0, cond = self.draw(self.iteration)
        generator = torch_generator(self.recipe.seed, "train-noise", self.iteration, x0.device)
        return self.loss(self.network, x0, cond, generator)

    def held_out_loss(self) -> float | None:
        """Mean of four noise draws."""
        if self.held_out is None:
            return None
        x0, cond = self.held_out()
        with torch.no_grad():
            draws = [
                self.loss(self.average, x0, cond, torch.Generator().manual_seed(i)).item() for i in range(4)
            ]
        return sum(draws) / len(draws)
