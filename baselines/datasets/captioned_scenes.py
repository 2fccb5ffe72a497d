"""Batches of the drawn, captioned world, as trainings read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from baselines.datasets.scene_captions import Captioned, captioned
from baselines.datasets.scene_drawing import draw
from baselines.datasets.scenes import HELD_OUT, Split

CHECKED = 256  # held-out scenes of the losses in records of training


class CaptionedBatch(NamedTuple):
    """Scenes with their captions, and their pictures uint8 ``[N, 3, 32, 32]``."""

    shown: list[Captioned]
    images: np.ndarray


@dataclass(frozen=True)
class CaptionedScenes:
    """An endless set of scenes; ``seed`` names which."""

    split: Split
    seed: int

    def rows(self, start: int, count: int) -> CaptionedBatch:
        """Scenes ``start .. start + count``."""
        shown = [captioned(self.split, self.seed, index) for index in range(start, start + count)]
        return CaptionedBatch(shown, draw([one.scene for one in shown]))

    def batch(self, iteration: int, size: int) -> CaptionedBatch:
        """Batch ``iteration`` of ``size`` scenes; no two share a scene."""
        return self.rows(iteration * size, size)


def held_out_batch() -> CaptionedBatch:
    """The scenes that trainings report their held-out losses on."""
    return CaptionedScenes(HELD_OUT, 0).rows(0, CHECKED)
