"""Evaluation of text-to-image suites: captions become conditions, latents become pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from baselines.datasets.images import to_uint8
from baselines.diffusion.cond import Cond
from baselines.distiller import Generator, Noise
from baselines.teachers.stable_diffusion import TextTeacher
from bench.evaluator import Evaluator, Rendering
from bench.parts import Pipeline
from bench.text_models import open_text, sampling_condition


@dataclass(frozen=True)
class PicturesOfCaptions(Evaluator):
    """What is common to all suites of text-to-image models.

    Attributes:
        pipeline: the suite's; device: where its models and the feature networks run.
    """

    around: ClassVar[Mapping[str, float]] = {"text encoder": 1.0, "autoencoder": 1.0}
    pipeline: Pipeline
    device: str

    @property
    def model(self) -> TextTeacher:
        """The pipeline with its weights."""
        return open_text(self.pipeline, self.device)

    @abstractmethod
    def captions(self, indices: range, seed: int = 0) -> Sequence[str]:
        """What the samples of a block are to show, by index."""

    def labels(self, indices: range, seed: int = 0) -> Cond:
        return sampling_condition(self.pipeline, self.model, self.captions(indices, seed))

    def pixels(self, x: Tensor) -> np.ndarray:
        return to_uint8(self.model.latents.decode(x))

    def rendering(self, indices: range, device: torch.device) -> Rendering:
        """From captions to pictures, with nothing remembered: what a user of the model waits for."""
        model, captions = self.model, self.captions(indices)
        cond = self.labels(indices).to(device)

        def render(generator: Generator, noise: Noise, steps: int) -> Tensor:
            said = model.text.in_one_pass(captions)
            asked = replace(cond, text=said.text, pooled=said.pooled)
            return model.latents.decode(generator.sample(noise, asked, steps))

        return render

    @property
    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        model = self.model
        return {"text encoder": [model.text.model], "autoencoder": [model.latents.autoencoder.decoder]}
