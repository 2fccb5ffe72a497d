"""Mean and covariance of a stream of features: merged across batches and processes, memory O(d^2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import feature_matrix


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean ``[d]`` and covariance ``[d, d]`` of a feature set, in fp64.

    Attributes:
        ddof: the covariance has divisor N - ddof: 1 nearly everywhere, 0 in SiD's protocol.
    """

    count: int
    mean: np.ndarray
    cov: np.ndarray
    ddof: int = 1

    def __post_init__(self) -> None:
        mean, cov = np.asarray(self.mean, np.float64), np.asarray(self.cov, np.float64)
        if mean.ndim != 1 or cov.shape != (mean.size, mean.size):
            raise ValueError(
                f"moments: expected a mean [d] and a covariance [d, d], found shapes {list(mean.shape)} "
                f"and {list(cov.shape)}"
            )
        if self.count < 2:
            raise ValueError(f"moments: a covariance needs at least 2 rows, found {self.count}")
        if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
            raise ValueError(
                "moments: the mean or the covariance holds NaN or infinity; expected finite values"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "cov", (cov + cov.T) / 2)

    @property
    def dimension(self) -> int:
        """Number of features d."""
        return int(self.mean.size)

    @staticmethod
    def of(features: ArrayLike, ddof: int = 1) -> Moments:
        """Moments of rows ``[N, d]``.

        Raises:
            ValueError: fewer than two rows, not a matrix, or non-finite values.
        """
        return RunningMoments().update(features).moments(ddof)

    def merge(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint sets; associative and commutative up to rounding.

        Raises:
            ValueError: the dimensions differ.
        """
        both = RunningMoments.from_moments(self).merge(RunningMoments.from_moments(other))
        return both.moments(self.ddof)


class RunningMoments:
    """Count, mean and centred scatter of a stream of batches; batches of one row are fine.

    Pairwise update of Chan, Golub and LeVeque (1979): no difference of large sums, so features with a large
    mean lose no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(0)
        self.scatter = np.zeros((0, 0))  # sum of (x - mean)(x - mean)^T

    @staticmethod
    def from_moments(moments: Moments) -> RunningMoments:
        """Continue a stream from finished moments."""
        running = RunningMoments()
        running.count, running.mean = moments.count, moments.mean.copy()
        running.scatter = moments.cov * (moments.count - moments.ddof)
        return running

    def update(self, batch: ArrayLike) -> RunningMoments:
        """Add rows ``[B, d]``; returns itself.

        Raises:
            ValueError: not a matrix, non-finite values, or another d than before.
        """
        rows = feature_matrix(batch, "features")
        part = RunningMoments()
        part.count, part.mean = len(rows), rows.mean(axis=0)
        centred = rows - part.mean
        part.scatter = centred.T @ centred
        return self.merge(part)

    def merge(self, other: RunningMoments) -> RunningMoments:
        """Add all rows that ``other`` has seen; returns itself.

        Raises:
            ValueError: the dimensions differ.
        """
        if self.count == 0 or other.count == 0:
            if other.count:
                self.count, self.mean, self.scatter = other.count, other.mean.copy(), other.scatter.copy()
            return self
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {self.mean.size} and {other.mean.size} features cannot be merged; "
                "expected the same dimension"
            )
        total = self.count + other.count
        shift = other.mean - self.mean
        self.scatter += other.scatter
        self.scatter += np.outer(shift, shift * (self.count * other.count / total))
        self.mean += shift * (other.count / total)
        self.count = total
        return self

    def moments(self, ddof: int = 1) -> Moments:
        """What has been seen so far; the covariance has divisor N - ``ddof``.

        Raises:
            ValueError: fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(f"moments: a covariance needs at least 2 rows, found {self.count}")
        return Moments(self.count, self.mean.copy(), self.scatter / (self.count - ddof), ddof)
