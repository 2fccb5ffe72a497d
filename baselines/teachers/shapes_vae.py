"""Training of the autoencoder of ``shapes``: squared error, and a KL term that only keeps latents smooth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.datasets.captioned_scenes import CaptionedScenes, held_out_batch
from baselines.datasets.images import to_model
from baselines.datasets.scenes import TRAIN
from baselines.streams import torch_generator
from baselines.teachers.resumable import Recipe, Training
from baselines.teachers.shapes import scene_vae

RECIPE = Recipe(iterations=5_000, batch=16, lr=2e-3, ema_half_life=5_000, seed=11)
KL = 1e-4  # weight of the divergence, per latent number, beside the mean error of a pixel in [-1, 1]
MEASURED = 2_048  # scenes that the scaling factor is measured on


class VAETraining(Training):
    """Trains ``AutoencoderKL``; a posterior sample is decoded, as in Kingma & Welling, 2013."""

    def __init__(self, recipe: Recipe = RECIPE) -> None:
        super().__init__(scene_vae(recipe.seed).to(memory_format=torch.channels_last), recipe)
        self.scenes = CaptionedScenes(TRAIN, recipe.seed)

    def batch_loss(self) -> Tensor:
        x0 = to_model(self.scenes.batch(self.iteration, self.recipe.batch).images)
        generator = torch_generator(self.recipe.seed, "train-noise", self.iteration)
        network: Any = self.network
        posterior = network.encode(x0.contiguous(memory_format=torch.channels_last)).latent_dist
        decoded = network.decode(posterior.sample(generator)).sample
        return F.mse_loss(decoded, x0) + KL * posterior.kl().mean() / posterior.mean[0].numel()

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean squared error in [-1, 1] of the decoded posterior means of held-out scenes."""
        x0 = to_model(held_out_batch().images)
        average: Any = self.average
        return float(F.mse_loss(average.decode(average.encode(x0).latent_dist.mean).sample, x0))


@torch.no_grad()
def measured_scaling(vae: Any, seed: int) -> float:
    """The factor that brings latents of training scenes to unit variance over all numbers."""
    scenes = CaptionedScenes(TRAIN, seed)
    generator = torch_generator(seed, "train-noise")
    latents = [
        vae.encode(to_model(scenes.batch(i, 256).images)).latent_dist.sample(generator)
        for i in range(MEASURED // 256)
    ]
    return float(1 / torch.cat(latents).std())
