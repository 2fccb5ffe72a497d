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
from metrics.frechet import Moments, frechet_distance
from metrics.statistics import Summary, summarise


def bootstrap_floor(
    distance: Callable[[np.ndarray], float],
    rows: int,
    count: int,
    rng: np.random.Generator,
    draws: int = 20,
) -> Summary:
    """Summary over bootstrap draws of ``distance(indices)``, ``count`` indices into ``rows`` reference rows.

    ``std`` is the spread of one measurement, not of the mean.

    Raises:
        ValueError: no rows, count or draws.
    """
    if min(rows, count, draws) < 1:
        raise ValueError(
            f"floor: expected rows, count and draws of 1 or more, found {rows}, {count}, {draws}"
        )
    return summarise([distance(rng.integers(rows, size=count)) for _ in range(draws)])


def frechet_floor(reference: ArrayLike, count: int, rng: np.random.Generator, draws: int = 20) -> Summary:
    """Floor of the Frechet distance at N = ``count`` against reference features ``[M, d]``.

    Raises:
        ValueError: as ``frechet_distance`` and ``bootstrap_floor``.
    """
    features = feature_matrix(reference, "reference")
    whole = Moments.of(features)
    return bootstrap_floor(
        lambda rows: frechet_distance(Moments.of(features[rows]), whole), len(features), count, rng, draws
    )


def class_frechet_floor(
    reference: ArrayLike,
    labels: ArrayLike,
    classes: int,
    count: int,
    rng: np.random.Generator,
    draws: int = 20,
) -> Summary:
    """Floor of the class-conditional distance at N = ``count``; features ``[M, d]`` and labels ``[M]``.

    Raises:
        ValueError: as ``class_frechet_distance`` and ``bootstrap_floor``.
    """
    features = feature_matrix(reference, "reference")
    named = class_labels(labels, len(features), classes, "reference labels")

    def distance(rows: np.ndarray) -> float:
        return class_frechet_distance(
            real=features, real_labels=named, fake=features[rows], fake_labels=named[rows], classes=classes
        )

    return bootstrap_floor(distance, len(features), count, rng, draws)
