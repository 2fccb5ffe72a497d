"""The real-against-real floor: what a distance reads when N draws come from the reference set itself.

Each draw takes N rows of the reference with replacement and measures its distance to the whole reference:
a generator that knows the reference set perfectly and nothing else. Thresholds are set on the excess over the
floor; ``nearest`` tells whether a distance near it was reached by copying.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import class_labels, feature_matrix
from metrics.class_frechet import class_frechet_distance
from metrics.frechet import frechet_distance
from metrics.moments import Moments
from metrics.statistics import Summary, summarise


def bootstrap_floor(
    distance: Callable[[np.ndarray], float],
    draw: Callable[[], np.ndarray],
    draws: int = 20,
) -> Summary:
    """Summary over ``draws`` of ``distance(rows)``, where ``draw()`` gives the rows of the reference to take.

    ``std`` is the spread of one measurement, not of the mean.

    Raises:
        ValueError: no draws.
    """
    return summarise([distance(draw()) for _ in range(draws)])


def frechet_floor(reference: ArrayLike, count: int, rng: np.random.Generator, draws: int = 20) -> Summary:
    """Floor of the Frechet distance at N = ``count`` against reference features ``[M, d]``.

    Raises:
        ValueError: as ``frechet_distance``, or no draws.
    """
    features = feature_matrix(reference, "reference")
    whole = Moments.of(features)

    def distance(rows: np.ndarray) -> float:
        return frechet_distance(Moments.of(features[rows]), whole)

    return bootstrap_floor(distance, lambda: rng.integers(len(features), size=count), draws)


def class_frechet_floor(
    reference: ArrayLike,
    labels: ArrayLike,
    classes: int,
    count: int,
    rng: np.random.Generator,
    draws: int = 20,
) -> Summary:
    """Floor of the class-conditional distance at N = ``count``; features ``[M, d]`` and labels ``[M]``.

    Every class is asked for equally often; where ``count`` does not divide, the first ones once more.

    Raises:
        ValueError: as ``class_frechet_distance``, a class has no reference row, or no draws.
    """
    features = feature_matrix(reference, "reference")
    named = class_labels(labels, len(features), classes, "reference labels")
    asked = np.bincount(np.arange(count) % classes, minlength=classes)

    def draw() -> np.ndarray:
        return np.concatenate([rng.choice(np.flatnonzero(named == c), asked[c]) for c in range(classes)])

    def distance(rows: np.ndarray) -> float:
        return class_frechet_distance(
            real=features, real_labels=named, fake=features[rows], fake_labels=named[rows], classes=classes
        )

    return bootstrap_floor(distance, draw, draws)
