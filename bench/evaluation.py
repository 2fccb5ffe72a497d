"""What an embedded suite measures: from samples to numbers, by the suite's protocol.

An evaluator owns the reference. It scores arrays (points in data space, or uint8 images with labels), so that
anything can be scored: students, solvers, real data, collapsed generators.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.digits import load_digits
from baselines.datasets.images import to_uint8
from baselines.datasets.mixtures import MIXTURES, Mixture
from baselines.diffusion.cond import Cond
from baselines.streams import numpy_generator
from bench.errors import AssetError, unknown
from bench.evaluator import Evaluator
from bench.image_evaluation import published_evaluator
from bench.suite import Suite
from bench.suite_protocol import CaptionProtocol, PublishedProtocol
from metrics.class_frechet import class_frechet_distance
from metrics.features.digits import DigitsFeatures, load_digits_features
from metrics.frechet import frechet_distance
from metrics.moments import Moments
from metrics.nearest import memorisation
from metrics.points import energy_distance, mode_coverage, sliced_wasserstein
from metrics.prdc import precision_recall

SCALE = 1000.0  # distances of the mixture suites are shown times 1000


@dataclass(frozen=True)
class PointsEvaluator(Evaluator):
    """Two-dimensional mixtures: exact draws are the reference, fresh for each block."""

    space: ClassVar[Literal["points", "images"]] = "points"
    mixture: Mixture
    extractor_sha256: str | None = None
    reference_sha256: str | None = None

    def labels(self, indices: range, seed: int = 0) -> Cond:
        return Cond()

    def pixels(self, x: Tensor) -> np.ndarray:
        return x.double().cpu().numpy()

    def score(self, samples: np.ndarray, seed: int) -> dict[str, float]:
        rng = numpy_generator(seed, "metric-subset")
        exact = self.mixture.draw(len(samples), rng)
        within, smallest = mode_coverage(samples, self.mixture.means, self.mixture.std)
        return {
            "swd": SCALE * sliced_wasserstein(samples, exact, rng),
            "energy": SCALE * energy_distance(samples, exact),
            "fd": SCALE * frechet_distance(Moments.of(samples), Moments.of(exact)),
            "within": within,
            "smallest_mode": smallest,
        }

    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        rng = numpy_generator(seed, "sample-noise", 1)
        means = self.mixture.means
        match name:
            case "real":
                return self.mixture.draw(count, rng)
            case "mode-means":
                return means[np.arange(count) % len(means)]
            case "collapsed":
                return np.asarray(means[0] + self.mixture.std * rng.standard_normal((count, means.shape[1])))
        raise unknown("anchor", name, ["real", "mode-means", "collapsed"])

    def real(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self.mixture.draw(count, numpy_generator(seed, "metric-subset")), None  # those of ``score``


@dataclass(frozen=True)
class DigitsEvaluator(Evaluator):
    """Handwritten digits: features of the shipped network, reference = the whole train split."""

    expected_extractor: str | None = None

    def __post_init__(self) -> None:
        if self.expected_extractor and self.expected_extractor != self.extractor_sha256:
            raise AssetError(
                f"digits feature network: sha256 found {self.extractor_sha256}, "
                f"expected {self.expected_extractor} (from the suite's protocol); restore the shipped file"
            )

    @cached_property
    def extractor(self) -> DigitsFeatures:
        try:
            return load_digits_features()
        except (ValueError, OSError) as error:
            raise AssetError(str(error)) from error

    @property
    def extractor_sha256(self) -> str:
        return str(self.extractor.digest)

    @cached_property
    def reference(self) -> np.ndarray:
        return np.asarray(self.extractor.features(load_digits()[0].images))

    @cached_property
    def reference_sha256(self) -> str:
        train = load_digits()[0]
        return hashlib.sha256(train.images.tobytes() + train.labels.tobytes()).hexdigest()

    def labels(self, indices: range, seed: int = 0) -> Cond:
        return Cond(label=torch.tensor([i % 10 for i in indices]))

    def pixels(self, x: Tensor) -> np.ndarray:
        return to_uint8(x)

    def score(self, samples: np.ndarray, seed: int) -> dict[str, float]:
        train, held_out = load_digits()
        features, logits = self.extractor.features_and_logits(samples)
        labels = np.arange(len(samples)) % 10
        nearest = memorisation(fake=samples, train=train.images, held_out=held_out.images)
        predicted = logits.argmax(1)
        return {
            "fd": frechet_distance(Moments.of(features), Moments.of(self.reference)),
            "class_fd": class_frechet_distance(
                real=self.reference,
                real_labels=train.labels,
                fake=features,
                fake_labels=labels,
                classes=train.n_classes,
            ),
            "recall": precision_recall(real=self.reference, fake=features).recall,
            "accuracy": float((predicted == labels).mean()),
            "nearest": nearest.fake_to_train / nearest.held_out_to_train,
            "copies": nearest.copies,
        }

    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        train, _ = load_digits()
        labels = np.arange(count) % 10
        rng = numpy_generator(seed, "sample-noise", 1)
        by_class = [np.flatnonzero(train.labels == c) for c in range(10)]
        match name:
            case "real":  # class-balanced draws with replacement from the reference
                return train.images[[rng.choice(by_class[c]) for c in labels]]
            case "class-means":
                means = np.stack([train.images[rows].mean(0) for rows in by_class])
                return np.rint(means[labels]).astype(np.uint8)
            case "collapsed":
                return train.images[[by_class[c][0] for c in labels]]
        raise unknown("anchor", name, ["real", "class-means", "collapsed"])

    def features(self, samples: np.ndarray) -> np.ndarray:
        return np.asarray(self.extractor.features(samples))

    def reference_moments(self) -> Moments:
        return Moments.of(self.reference)

    def real(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        train, _ = load_digits()
        return train.images, train.labels


def evaluator_for(suite: Suite, device: str = "cpu") -> Evaluator:
    """The evaluator of a suite's protocol; ``device`` is where published feature networks run."""
    protocol = suite.protocol
    if isinstance(protocol, PublishedProtocol) and suite.pipeline is not None:
        from bench.prompt_evaluation import prompted_evaluator  # open_clip takes seconds to import

        return prompted_evaluator(suite, device)
    if isinstance(protocol, PublishedProtocol):
        return published_evaluator(suite, device)
    if isinstance(protocol, CaptionProtocol):
        from bench.scene_evaluation import scenes_evaluator  # open_clip takes seconds to import

        return scenes_evaluator(suite, device)
    if protocol.evaluator == "points":
        return PointsEvaluator(MIXTURES[suite.teacher]())
    return DigitsEvaluator(protocol.extractor_sha256)
