"""All metrics of a protocol from a stream of images: one pass, moments only where moments are enough."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

import numpy as np
import torch

from metrics.features.extractor import Extra, Extractor, Features
from metrics.frechet import frechet_distance
from metrics.inception_score import inception_score
from metrics.moments import Moments, RunningMoments
from metrics.prdc import precision_recall
from metrics.protocols.record import Protocol
from metrics.reference import PARTS, Reference, ddof_of, is_statistics, load_statistics
from metrics.samples.source import ImageSource, open_images

if TYPE_CHECKING:
    from collections.abc import Sequence


class Seen(Interface):
    """What is kept of samples that were looked at."""

    def merge(self, other: Any) -> object:
        """Add what another of its kind has of the samples that follow."""


class Rows:
    """Rows of numbers, all of them, in the order of the samples."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def update(self, batch: np.ndarray) -> None:
        """Add the rows of a batch."""
        self.parts.append(batch)

    def merge(self, other: Rows) -> None:
        """Add the rows of the samples that follow."""
        self.parts += other.parts

    def whole(self) -> np.ndarray:
        """All of them in one array."""
        return np.concatenate(self.parts)


class Measure(ABC):
    """One or more metrics, fed batch by batch.

    Attributes:
        extras: outputs of the extractor that it needs.
        seen: all that it knows of the samples; that of several processes merges.
    """

    extras: frozenset[Extra] = frozenset()
    seen: Seen

    @abstractmethod
    def update(self, features: Features) -> None:
        """Take one batch."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """The metrics; raises ValueError where they are not defined."""


class FrechetTo(Measure):
    """Frechet distance to a reference's moments; holds moments only."""

    def __init__(self, key: str, part: str, reference: Moments, ddof: int, singular: bool = False) -> None:
        self.key, self.part, self.reference, self.ddof, self.singular = key, part, reference, ddof, singular
        self.extras = frozenset({Extra.SPATIAL}) if part == "spatial" else frozenset()
        self.seen: RunningMoments = RunningMoments()

    def update(self, features: Features) -> None:
        self.seen.update(getattr(features, self.part).cpu().numpy())

    def values(self) -> dict[str, float]:
        moments = self.seen.moments(self.ddof)
        return {self.key: frechet_distance(moments, self.reference, allow_singular=self.singular)}


class Score(Measure):
    """Inception Score over splits of the samples in their order; holds the logits."""

    extras = frozenset({Extra.LOGITS})

    def __init__(self, splits: int) -> None:
        self.splits = splits
        self.seen: Rows = Rows()

    def update(self, features: Features) -> None:
        assert features.logits is not None
        self.seen.update(features.logits.cpu().numpy())

    def values(self) -> dict[str, float]:
        found = inception_score(self.seen.whole(), self.splits, shuffle_seed=None)
        return {"inception_score": found.mean}


class InsideManifold(Measure):
    """Precision and recall; holds the features."""

    def __init__(self, real: np.ndarray, k: int, names: Sequence[str]) -> None:
        self.real, self.k, self.names = real, k, names
        self.seen: Rows = Rows()

    def update(self, features: Features) -> None:
        self.seen.update(features.pool.cpu().numpy())

    def values(self) -> dict[str, float]:
        found = precision_recall(real=self.real, fake=self.seen.whole(), k=self.k)
        return {name: getattr(found, name) for name in self.names}


def needs_reference(protocol: Protocol) -> bool:
    """Whether a metric of a protocol compares samples with real images."""
    return any(key in PARTS or key in ("precision", "recall") for key in protocol.metrics)


def measures_of(
    protocol: Protocol, reference: Reference | None, *, allow_singular: bool = False
) -> list[Measure]:
    """What a protocol asks for, against a reference; None where ``needs_reference`` says so.

    ``allow_singular`` as in ``frechet_distance``: for runs that only check the path.

    Raises:
        ValueError: a metric that is not computed from one extractor's features, or real images are missing.
    """
    ddof = 0 if protocol.frechet and protocol.frechet.divisor == "N" else 1
    made: list[Measure] = []
    for key in protocol.metrics:
        if key in PARTS and reference is not None:
            moments = reference.moments[PARTS[key]]
            made.append(FrechetTo(key, PARTS[key], moments, ddof, allow_singular))
        elif key == "inception_score" and protocol.inception_score:
            made.append(Score(protocol.inception_score.splits))
        elif key not in ("precision", "recall"):
            raise ValueError(f"{protocol.id}: {key} is not measured from features of given images")
    names = [key for key in protocol.metrics if key in ("precision", "recall")]
    if names and protocol.manifold:
        real = reference.features if reference is not None else None
        if real is None or len(real) != protocol.manifold.real:
            found = "no" if real is None else len(real)
            raise ValueError(
                f"{protocol.id}: precision and recall need {protocol.manifold.real} reference images; "
                f"the reference holds {found}"
            )
        made.append(InsideManifold(real, protocol.manifold.k, names))
    return made


def measure(
    protocol: Protocol, images: ImageSource, extractor: Extractor, reference: Reference | None
) -> dict[str, float]:
    """All metrics of one repeat, in the order of the protocol.

    Raises:
        ValueError: not N images, images that the protocol does not take, or features that are not finite.
    """
    exact_count(protocol, images.path, images.count)
    made = measures_of(protocol, reference)
    feed(images, extractor, made)
    return values_of(protocol, made)


def values_of(protocol: Protocol, measures: Sequence[Measure]) -> dict[str, float]:
    """What measures that were fed have found, in the order of the protocol."""
    found = {key: value for each in measures for key, value in each.values().items()}
    return {key: found[key] for key in protocol.metrics}


def merge(measures: Sequence[Measure], seen: Sequence[Seen]) -> None:
    """Let measures know what their likes have seen of the samples that follow."""
    for each, more in zip(measures, seen, strict=True):
        each.seen.merge(more)


def exact_count(protocol: Protocol, path: Path, count: int) -> None:
    """Raise ValueError unless a repeat has the protocol's N samples."""
    wanted = protocol.sampling.samples if protocol.sampling else 0
    if count != wanted:
        what = "fewer" if count < wanted else "more"
        why = "distances depend on N" if count < wanted else "which to leave out would be a choice"
        raise ValueError(f"{path}: {count} samples, {what} than the {wanted} of {protocol.id}; {why}")


def feed(images: ImageSource, extractor: Extractor, measures: Sequence[Measure]) -> None:
    """One pass: every batch through the extractor, its features to every measure."""
    for batch in images.batches():
        show(batch, images.path, extractor, measures)


def show(batch: np.ndarray, where: Path, extractor: Extractor, measures: Sequence[Measure]) -> None:
    """One batch of images; raises ValueError naming where they are from if features are not finite."""
    extras = frozenset[Extra]().union(*(each.extras for each in measures))
    try:
        features = extractor.extract(torch.from_numpy(batch), extras)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for each in measures:
        each.update(features)


def load_reference(path: Path, protocol: Protocol, extractor: Extractor) -> Reference:
    """The reference of a protocol: a statistics file, or real images whose features are computed.

    Raises:
        WrongFile: another digest than the protocol's.
        ValueError: statistics or images that do not fit the protocol.
    """
    assert protocol.reference is not None and protocol.pixels is not None
    if is_statistics(path):
        found = load_statistics(path, protocol)
        if protocol.manifold is None:
            return found
        stored = open_images(path, protocol.pixels, reference=True)
        return Reference(found.sha256, found.moments, features_of(stored, extractor), found.asset)
    if not protocol.reference.computable and protocol.reference.source == "statistics":
        raise ValueError(f"{path}: {protocol.id} takes statistics (npz with mu and sigma), not images")
    images = open_images(path, protocol.pixels, reference=True)
    counts = {asset.count for asset in protocol.reference.assets}
    if protocol.reference.source == "images" and counts and images.count not in counts:
        wanted = ", ".join(map(str, sorted(count for count in counts if count)))
        raise ValueError(f"{path}: {images.count} reference images; {protocol.id} has {wanted}")
    return images_reference(images, protocol, extractor)


def images_reference(images: ImageSource, protocol: Protocol, extractor: Extractor) -> Reference:
    """Moments of real images, and their features where precision and recall need them."""
    wanted = {PARTS[key] for key in protocol.metrics if key in PARTS}
    extras = frozenset({Extra.SPATIAL} if "spatial" in wanted else ())
    running, kept = {part: RunningMoments() for part in wanted}, list[np.ndarray]()
    for batch in images.batches():
        features = extractor.extract(torch.from_numpy(batch), extras)
        for part, moments in running.items():
            moments.update(getattr(features, part).cpu().numpy())
        if protocol.manifold:
            kept.append(features.pool.cpu().numpy())
    made = {part: moments.moments(ddof_of(protocol)) for part, moments in running.items()}
    return Reference(images.sha256, made, np.concatenate(kept) if kept else None)


def features_of(images: ImageSource, extractor: Extractor) -> np.ndarray:
    """Features ``[N, d]`` of all images."""
    return np.concatenate([extractor(torch.from_numpy(batch)).cpu().numpy() for batch in images.batches()])
