"""Training batches of a text teacher: pictures through its autoencoder, captions through its text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.captioned_scenes import CaptionedScenes
from baselines.datasets.images import to_model
from baselines.datasets.scene_captions import captioned
from baselines.datasets.scenes import TRAIN
from baselines.diffusion.cond import Cond
from baselines.diffusion.guidance import Strength
from baselines.streams import torch_generator
from baselines.teachers.stable_diffusion import TextTeacher


class Captioned(NamedTuple):
    """Pictures uint8 ``[N, 3, H, W]`` with a caption each; no pictures where only captions were asked for."""

    images: np.ndarray | None
    captions: Sequence[str]


class CaptionedSource(Protocol):
    """A data set of captioned pictures (``Captioned``), in batches by seed and iteration."""

    def batch(self, seed: int, iteration: int, size: int) -> tuple[np.ndarray | None, Sequence[str]]: ...
    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]: ...


@dataclass(frozen=True)
class CaptionedLatents:
    """What a suite's data iterator is for a text teacher.

    Attributes:
        model: encodes; source: of pictures and captions; strength: of the guidance that students learn.
    """

    model: TextTeacher
    source: CaptionedSource
    strength: Strength

    def draw(self, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
        """Latents drawn from the autoencoder's law ``[B, C, h, w]``, and their conditions.

        Raises:
            ValueError: the source has captions alone.
        """
        images, captions = self.source.batch(seed, iteration, size)
        if images is None:
            raise ValueError("training captions come without pictures, and this method learns from pictures")
        noise = torch.randn(
            len(images), *self.model.space.shape, generator=torch_generator(seed, "data", iteration)
        )
        return self.model.latents.encode(to_model(images), noise), self._asked(seed, iteration, captions)

    def draw_conditions(self, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
        """Conditions alone: what a data-free method is given."""
        captions = self.source.captions(seed, iteration, size)
        return torch.empty(len(captions), 0), self._asked(seed, iteration, captions)

    def _asked(self, seed: int, iteration: int, captions: Sequence[str]) -> Cond:
        cond = self.model.condition(captions)
        return self.strength.ask(cond, torch_generator(seed, "labels", iteration))


class DrawnScenes:
    """The drawn world of ``shapes``: each seed another endless set of scenes, none of them held out."""

    def batch(self, seed: int, iteration: int, size: int) -> Captioned:
        found = CaptionedScenes(TRAIN, seed).batch(iteration, size)
        return Captioned(found.images, [one.caption for one in found.shown])

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        start = iteration * size
        return [captioned(TRAIN, seed, index).caption for index in range(start, start + size)]


SOURCES: dict[str, CaptionedSource] = {"shapes": DrawnScenes()}
