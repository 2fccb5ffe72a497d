"""Distances between point clouds of known law, for the 2-D mixture suites."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from metrics.arrays import matching

CHUNK = 512  # rows of a distance block: 40 MB against 10,000 points


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, rng: np.random.Generator, projections: int = 256) -> float:
    """Mean over random directions of the 1-Wasserstein distance between projections, in data units.

    Exact in one dimension for equal and for unequal sizes: the integral of ``|F^-1 - G^-1|`` over the merged
    quantile levels. Two calls with equally seeded generators use the same directions. (Rabin et al., 2011.)

    Raises:
        ValueError: ``x [N, d]`` and ``y [M, d]`` differ in d, are empty or not finite, or projections < 1.
    """
    x, y = matching(x, y, ("x", "y"))
    if projections < 1:
        raise ValueError(f"projections: expected 1 or more, found {projections}")
    directions = rng.standard_normal((x.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    first, second = np.sort(x @ directions, axis=0), np.sort(y @ directions, axis=0)
    n, m = len(first), len(second)
    # quantile levels times n * m: integers, so that equal levels of both sets fall together exactly
    levels = np.unique(np.concatenate([np.arange(1, n + 1) * m, np.arange(1, m + 1) * n]))
    width = np.diff(levels, prepend=0)
    gap = np.abs(first[(levels - 1) // m] - second[(levels - 1) // n]).mean(axis=1)
    return float(width @ gap / (n * m))


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` over all pairs, in the units of the data; 0 for equal sets.

    The energy distance of the two empirical measures (Szekely and Rizzo, 2013), without a root. Time O(N^2),
    0.3 s at N = 5,000 on one core; memory O(N).

    Raises:
        ValueError: ``x [N, d]`` and ``y [M, d]`` differ in d, are empty or not finite.
    """
    x, y = matching(x, y, ("x", "y"))
    return float(2 * _mean_distance(x, y) - _mean_distance(x, x) - _mean_distance(y, y))


def _mean_distance(x: np.ndarray, y: np.ndarray) -> float:
    total = sum(cdist(x[start : start + CHUNK], y).sum() for start in range(0, len(x), CHUNK))
    return float(total / (len(x) * len(y)))


class ModeCoverage(NamedTuple):
    """How a mixture's modes are served.

    Attributes:
        within: share of the samples that lie within the radius of a mode.
        smallest_mode: share of the least served mode over its fair share; 0 for a lost mode, 1 at best.
    """

    within: float
    smallest_mode: float


def mode_coverage(
    x: ArrayLike, means: ArrayLike, std: float, radius: float = 4.0, weights: ArrayLike | None = None
) -> ModeCoverage:
    """Share of samples ``[N, d]`` within ``radius`` std of a mode ``means [K, d]``, and the least served.

    A sample counts for its nearest mode, and only within the radius. A mode's fair share is its weight
    (default 1 / K), and shares are of all N samples, so that off-mode samples lower them.

    Raises:
        ValueError: shapes do not match, values are not finite, or ``std`` or a weight is not positive.
    """
    x, means = matching(x, means, ("x", "means"))
    fair = np.full(len(means), 1 / len(means)) if weights is None else np.asarray(weights, np.float64)
    if std <= 0 or fair.shape != (len(means),) or (fair <= 0).any():
        raise ValueError(
            f"modes: expected std > 0 and {len(means)} positive weights, found {std} and {fair.tolist()}"
        )
    distances = cdist(x, means)
    nearest = distances.argmin(axis=1)
    inside = distances.min(axis=1) <= radius * std
    shares = np.bincount(nearest[inside], minlength=len(means)) / len(x)
    return ModeCoverage(float(inside.mean()), float((shares / (fair / fair.sum())).min()))
