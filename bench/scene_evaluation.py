"""Evaluation of the drawn, captioned world: distance, CLIP score, and how well attributes are shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import cast

import numpy as np
import torch

from baselines.datasets.captioned_scenes import CaptionedScenes
from baselines.datasets.scene_captions import Captioned, captioned, worded
from baselines.datasets.scene_drawing import draw
from baselines.datasets.scene_falsehoods import CHANGES, changed
from baselines.datasets.scenes import SPLITS
from baselines.streams import numpy_generator
from bench.caption_evaluation import PicturesOfCaptions
from bench.errors import unknown
from bench.feature_network import feature_network
from bench.suite import Suite
from bench.suite_protocol import CaptionProtocol
from metrics.caption_ranking import Asked, embedded, ranked_by_change
from metrics.clip_score import units
from metrics.features.clip import ClipFeatures
from metrics.features.extractor import Extractor
from metrics.frechet import frechet_distance
from metrics.moments import Moments

REFERENCE_SEED = 1  # of the real pictures; blocks have other seeds
ALTERNATIVES = 3  # captions with another colour, say, that a picture's own must beat
EXTRACTOR, CLIP = "shapes", "clip-shapes"  # in the registry of feature networks


@dataclass(frozen=True)
class ScenesEvaluator(PicturesOfCaptions):
    """Pictures of the drawn world: scene ``index`` of seed ``block`` gives the caption of a sample."""

    law: CaptionProtocol

    @property
    def extractor(self) -> Extractor:
        """Features of the distance."""
        return _network(EXTRACTOR, self.law.extractor_sha256, self.device)

    @property
    def clip(self) -> ClipFeatures:
        """The network that compares pictures and captions; nothing is trained or guided by it."""
        return cast(ClipFeatures, _network(CLIP, self.law.clip_sha256, self.device))

    @property
    def extractor_sha256(self) -> str:
        return str(self.extractor.sha256)

    @property
    def reference_sha256(self) -> str:
        return hashlib.sha256(_real(self.law.split, self.law.reference_samples).tobytes()).hexdigest()

    def shown(self, indices: range, seed: int = 0) -> list[Captioned]:
        """The scenes whose captions are asked for."""
        return [captioned(SPLITS[self.law.split], seed, index) for index in indices]

    def captions(self, indices: range, seed: int = 0) -> list[str]:
        return [one.caption for one in self.shown(indices, seed)]

    def score(self, samples: np.ndarray, seed: int) -> dict[str, float]:
        asked = _asked(self.law.split, seed, len(samples), self.law.clip_sha256, self.device)
        images = torch.from_numpy(samples)
        pictures = units(self.clip(images))
        ranked = ranked_by_change(pictures, asked)
        return {
            "fd": frechet_distance(Moments.of(self.features(samples)), self.reference_moments()),
            "clip_score": float((pictures * asked.own).sum(axis=1).mean()),
            **{f"r_{change}": ranked[change] for change in CHANGES},
        }

    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        scenes = [one.scene for one in self.shown(range(count), seed)]
        match name:
            case "real":
                return draw(scenes)
            case "shuffled":  # all pictures are right, each for the caption before
                return np.roll(draw(scenes), 1, axis=0)
            case "collapsed":
                return np.repeat(draw(scenes[:1]), count, axis=0)
        raise unknown("anchor", name, ["real", "shuffled", "collapsed"])

    def features(self, samples: np.ndarray) -> np.ndarray:
        return self.extractor(torch.from_numpy(samples)).cpu().numpy()

    def reference_moments(self) -> Moments:
        return _reference(self.law.split, self.law.reference_samples, self.law.extractor_sha256, self.device)

    def real(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        return _real(self.law.split, self.law.reference_samples), None


@cache
def _network(name: str, sha256: str | None, device: str) -> Extractor:
    return feature_network("shapes", name, None, sha256, device)


@cache
def _real(split: str, count: int) -> np.ndarray:
    return CaptionedScenes(SPLITS[split], REFERENCE_SEED).rows(0, count).images


@cache
def _reference(split: str, count: int, sha256: str | None, device: str) -> Moments:
    images = torch.from_numpy(_real(split, count))
    return Moments.of(_network(EXTRACTOR, sha256, device)(images).cpu().numpy())


@cache
def _asked(split: str, seed: int, count: int, sha256: str | None, device: str) -> Asked:
    """The captions of a block and false ones beside them, embedded; the same for every method."""
    shown = [captioned(SPLITS[split], seed, index) for index in range(count)]
    rngs = [numpy_generator(seed, "falsehoods", index) for index in range(count)]
    false = {
        change: [
            [worded(other, rng) for other in islice(changed(one, change, rng), ALTERNATIVES)]
            for one, rng in zip(shown, rngs, strict=True)
        ]
        for change in CHANGES
    }
    clip = cast(ClipFeatures, _network(CLIP, sha256, device))
    return embedded(clip, [one.caption for one in shown], false)


def scenes_evaluator(suite: Suite, device: str) -> ScenesEvaluator:
    """The evaluator of a suite of the drawn world."""
    assert suite.pipeline is not None and isinstance(suite.protocol, CaptionProtocol)
    return ScenesEvaluator(suite.pipeline, device, suite.protocol)
