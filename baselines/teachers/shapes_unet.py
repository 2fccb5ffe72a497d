"""Training of the U-Net of ``shapes`` with its text encoder: v-prediction on latents, some captions dropped.

The text encoder is trained jointly with the U-Net. Stable Diffusion takes CLIP's and freezes it, because
its pairs are few beside CLIP's; here pairs are endless, a contrastive loss would teach the last token only
while the U-Net attends to all of them, and joint training shares nothing with the CLIP that scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.datasets.captioned_scenes import CaptionedBatch, CaptionedScenes, held_out_batch
from baselines.datasets.images import to_model
from baselines.datasets.scenes import TRAIN
from baselines.streams import numpy_generator, torch_generator
from baselines.teachers.resumable import Recipe, Training
from baselines.teachers.shapes import (
    CONTEXT,
    SCHEDULER,
    libraries,
    load_tokenizer,
    load_vae,
    scene_text_encoder,
    scene_unet,
)


@dataclass(frozen=True, kw_only=True)
class LatentRecipe(Recipe):
    """Settings of the training of U-Net and text encoder.

    Attributes:
        dropped: chance that a caption is replaced by the empty one, which guidance needs.
    """

    dropped: float = 0.1


RECIPE = LatentRecipe(iterations=7_500, batch=64, lr=8e-4, warmup=300, ema_half_life=20_000, seed=12)


class LatentTraining(Training):
    """Trains ``unet`` and ``text_encoder`` of ``network``.

    Args:
        recipe: settings.
        folder: pipeline folder with the trained autoencoder and the tokenizer.
    """

    recipe: LatentRecipe

    def __init__(self, folder: Path, recipe: LatentRecipe = RECIPE) -> None:
        diffusers, _ = libraries()
        self.vae, self.tokenizer = load_vae(folder), load_tokenizer(folder)
        self.scheduler = diffusers.DDIMScheduler.from_config(SCHEDULER)
        unet = scene_unet(recipe.seed).to(memory_format=torch.channels_last)
        text = scene_text_encoder(recipe.seed, len(self.tokenizer))
        super().__init__(nn.ModuleDict({"unet": unet, "text_encoder": text}), recipe)
        self.scenes = CaptionedScenes(TRAIN, recipe.seed)

    def batch_loss(self) -> Tensor:
        seed, batch = self.recipe.seed, self.scenes.batch(self.iteration, self.recipe.batch)
        kept = numpy_generator(seed, "caption-dropout", self.iteration).random(self.recipe.batch)
        captions = [
            one.caption if draw >= self.recipe.dropped else ""
            for one, draw in zip(batch.shown, kept, strict=True)
        ]
        return self.loss(self.network, batch, captions, torch_generator(seed, "train-noise", self.iteration))

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Of held-out scenes with their captions, one draw of noise."""
        batch = held_out_batch()
        captions = [one.caption for one in batch.shown]
        return self.loss(self.average, batch, captions, torch_generator(0, "train-noise")).item()

    def loss(
        self, network: Any, batch: CaptionedBatch, captions: Sequence[str], generator: torch.Generator
    ) -> Tensor:
        """Mean squared error of v at even timesteps."""
        with torch.no_grad():
            posterior = self.vae.encode(to_model(batch.images)).latent_dist
            x0 = posterior.sample(generator) * self.vae.config.scaling_factor
        steps = torch.randint(self.scheduler.config.num_train_timesteps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        x = self.scheduler.add_noise(x0, noise, steps)
        states = network["text_encoder"](self.tokens(captions)).last_hidden_state
        found = network["unet"](x.contiguous(memory_format=torch.channels_last), steps, states).sample
        return F.mse_loss(found, self.scheduler.get_velocity(x0, noise, steps))

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Ids ``[B, CONTEXT]``, filled up as Stable Diffusion's pipeline does."""
        ids: Tensor = self.tokenizer(
            list(captions), padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
        ).input_ids
        return ids
