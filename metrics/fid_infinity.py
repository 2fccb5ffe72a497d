"""FID-infinity (Chong and Forsyth, 2020, arXiv:1911.07023): the Frechet distance at endless samples.

The bias of N samples falls as 1 / N, so that a straight line through distances at several N meets 1 / N = 0
at the unbiased value. An extra, to be labelled: its number is no FID, and no row is ranked by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import feature_matrix
from metrics.frechet import frechet_distance
from metrics.moments import Moments


@dataclass(frozen=True)
class FrechetInfinity:
    """The extrapolated distance and the line it lies on.

    Attributes:
        value: at 1 / N = 0; may fall below zero by noise.
        slope: of the distance against 1 / N.
        counts, distances: the points of the line.
    """

    value: float
    slope: float
    counts: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_infinity(
    fake: ArrayLike,
    reference: Moments,
    rng: np.random.Generator,
    *,
    points: int = 15,
    smallest: int | None = None,
) -> FrechetInfinity:
    """Extrapolate from random subsets of ``fake [N, d]``, of ``smallest`` (default N / 10 or 2 d) to N rows.

    Counts are evenly spaced; each subset is drawn afresh without replacement. The reference is held fixed:
    its own bias stays.

    Raises:
        ValueError: as ``frechet_distance``; fewer than 3 points; or no room between ``smallest`` and N.
    """
    rows = feature_matrix(fake, "fake")
    first = smallest if smallest is not None else max(len(rows) // 10, 2 * rows.shape[1])
    if points < 3 or not rows.shape[1] < first <= len(rows) - points:
        raise ValueError(
            f"{points} subsets of {first} to {len(rows)} rows in {rows.shape[1]} dimensions; expected 3 or "
            "more, of more rows than dimensions, and room between the smallest and the whole"
        )
    counts = np.linspace(first, len(rows), points).astype(int)
    distances = [
        frechet_distance(Moments.of(rows[rng.permutation(len(rows))[:count]]), reference) for count in counts
    ]
    slope, value = np.polyfit(1 / counts, distances, 1)
    return FrechetInfinity(float(value), float(slope), tuple(counts.tolist()), tuple(distances))
