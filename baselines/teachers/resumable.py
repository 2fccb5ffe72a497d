"""Trainings that a kill does not change: draws are keyed by the iteration, and the state is all there is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from baselines.diffusion.ema import EMALaw, ema_update
from baselines.streams import seeded


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one training.

    Attributes:
        iterations, batch: updates and images per update.
        lr: Adam's peak rate; linear warm-up over ``warmup`` updates, cosine to 0 at the end.
        ema_half_life: of the averaged weights, in images.
        seed: of all its streams.
    """

    iterations: int
    batch: int
    lr: float
    warmup: int = 200
    ema_half_life: float = 50_000
    seed: int = 0

    def rate(self, iteration: int) -> float:
        """Learning rate of an update."""
        warm = min(1.0, (iteration + 1) / self.warmup)
        cosine = 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * iteration / self.iterations))))
        return self.lr * warm * cosine


class Training(ABC):
    """A resumable training: ``step`` until ``iteration == recipe.iterations``, then take ``average``.

    Args:
        network: freshly initialised; trained in place.
        recipe: settings.
    """

    recipe: Recipe

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network, self.recipe = network, recipe
        self.average = deepcopy(network).eval()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=(0.9, 0.99))
        self.law = EMALaw(half_life=recipe.ema_half_life, ramp=0.1)
        self.iteration = 0

    @abstractmethod
    def batch_loss(self) -> Tensor:
        """Loss of the network on the batch of ``iteration``; pure, so that nothing is repeated or skipped."""

    def held_out_loss(self) -> float | None:
        """Loss of the averaged weights on held-out data; None where there is none."""
        return None

    def step(self) -> float:
        """One update; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.iteration)
        self.network.train()
        with seeded(self.recipe.seed, "dropout", self.iteration):
            loss = self.batch_loss()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        batch = self.recipe.batch
        ema_update(self.average, self.network, self.law.decay(batch, self.iteration * batch))
        self.iteration += 1
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed training needs."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.iteration = state["iteration"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
