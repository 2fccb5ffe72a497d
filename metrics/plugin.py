"""The contract of a metric that others bring: fed a block of samples batch by batch, it gives one number.

It is measured beside the metrics of a protocol on the same samples, and shown, sorted and filtered by; no row
is ever ranked by it. A useful one fits in 20 lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    from metrics.moments import Moments


@dataclass(frozen=True)
class Needs:
    """What a metric must be given; where a suite cannot give it, the metric is left out.

    Attributes:
        space: kind of samples it takes; None takes both.
        labels: the class asked for of every sample.
        features: of samples in the protocol's feature network, and mean and covariance of those of real data.
        real: real samples; with ``features`` and ``labels`` theirs too.
    """

    space: Literal["points", "images"] | None = None
    labels: bool = False
    features: bool = False
    real: bool = False


@dataclass(frozen=True)
class Batch:
    """Samples of a block, in its order; arrays cannot be written to.

    Attributes:
        samples: points float64 ``[B, d]``, or decoded images uint8 ``[B, C, H, W]``.
        labels: int64 ``[B]``; features: ``[B, D]``; None where they were not asked for.
    """

    samples: np.ndarray
    labels: np.ndarray | None = None
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Real:
    """The real side of a block; what was not asked for is None.

    Attributes:
        data: real samples: as many fresh draws of a mixture as the block has samples; of images the
            training split, or as many training images as the block has samples where that is large.
        moments: mean and covariance of the protocol's reference features.
    """

    data: Batch | None = None
    moments: Moments | None = None


class Metric(ABC):
    """One number of a block of samples; a new instance is made for every block.

    The number may depend on the samples, the real side and draws from ``rng`` only: not on the size of the
    batches, on the clock, or on what was measured before.

    Attributes:
        name: lower-case letters, digits and ``_``; key in records, ``--sort`` and ``--filter``.
        about: one sentence: what it measures, and its unit.
        title: head of its column; the name if empty.
        better: direction of its arrow; "none" has none.
        digits: decimals in tables.
        version: raised by its author when its numbers change; values of two versions share no column.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    title: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "none"]] = "none"
    digits: ClassVar[int] = 3
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs()

    def __init__(self, real: Real, rng: np.random.Generator) -> None:
        self.real, self.rng = real, rng

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Take the next samples."""

    @abstractmethod
    def value(self) -> float:
        """The finite number, after all samples; raises ValueError where it is not defined."""
