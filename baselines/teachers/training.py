"""Denoising score matching for the small teachers the suites ship (EDM loss; Karras et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, per_sample
from baselines.diffusion.ema import EMALaw, ema_update
from baselines.diffusion.noise import edm_weight, lognormal_sigma
from baselines.streams import stream_key, torch_generator

Draw = Callable[[int], tuple[Tensor, Cond]]  # iteration -> clean batch and its condition
Target = Callable[[Tensor, Tensor, Tensor, Cond], Tensor]  # x0, x, sigma, cond -> regression target


def clean_image(x0: Tensor, x: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
    """The ordinary denoising target."""
    return x0


@dataclass(frozen=True)
class TeacherRecipe:
    """Settings of one teacher training.

    Attributes:
        iterations, batch: updates and images per update.
        lr: Adam's peak rate; linear warm-up over ``warmup`` updates, cosine to 0 at the end.
        p_mean, p_std: law of ln sigma.
        ema_half_life: in images.
        seed: of the streams init, data, train-noise and dropout.
    """

    iterations: int
    batch: int
    lr: float
    warmup: int = 200
    p_mean: float = -1.2
    p_std: float = 1.2
    ema_half_life: float = 50_000
    seed: int = 0

    def rate(self, iteration: int) -> float:
        """Learning rate of an update."""
        warm = min(1.0, (iteration + 1) / self.warmup)
        cosine = 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * iteration / self.iterations))))
        return self.lr * warm * cosine


class DenoiserTraining:
    """A resumable training: ``step`` until ``iteration == recipe.iterations``, then take ``average``.

    Args:
        denoiser: freshly initialised network; trained in place.
        recipe: settings.
        draw: batch of an iteration (pure, so that a resumed run repeats nothing and skips nothing).
        target: regression target; the clean image unless a closed form is known.
    """

    def __init__(
        self, denoiser: Denoiser, recipe: TeacherRecipe, draw: Draw, target: Target = clean_image
    ) -> None:
        self.denoiser, self.recipe, self.draw, self.target = denoiser, recipe, draw, target
        self.average = deepcopy(denoiser).eval()
        self.optimizer = torch.optim.Adam(denoiser.parameters(), lr=recipe.lr, betas=(0.9, 0.99))
        self.law = EMALaw(half_life=recipe.ema_half_life, ramp=0.1)
        self.sigma_data = float(getattr(denoiser.scaling, "sigma_data", 0.5))
        self.iteration = 0

    def loss(self, x0: Tensor, cond: Cond, generator: torch.Generator) -> Tensor:
        """EDM loss: mean over pixels and batch of ``lambda(sigma) ||D(x0 + sigma n) - target||^2``."""
        sigma = lognormal_sigma(len(x0), generator, self.recipe.p_mean, self.recipe.p_std)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device)
        x = x0 + per_sample(sigma, x0) * noise
        weight = per_sample(edm_weight(sigma, self.sigma_data), x0)
        return (weight * (self.denoiser(x, sigma, cond) - self.target(x0, x, sigma, cond)) ** 2).mean()

    def step(self) -> float:
        """One update; returns the loss."""
        seed, batch = self.recipe.seed, self.recipe.batch
        x0, cond = self.draw(self.iteration)
        generator = torch_generator(seed, "train-noise", self.iteration, x0.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.iteration)
        self.denoiser.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_key(seed, "dropout", self.iteration))
            loss = self.loss(x0, cond, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        ema_update(self.average, self.denoiser, self.law.decay(batch, self.iteration * batch))
        self.iteration += 1
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed training needs."""
        return {
            "iteration": self.iteration,
            "denoiser": self.denoiser.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.iteration = state["iteration"]
        self.denoiser.load_state_dict(state["denoiser"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
