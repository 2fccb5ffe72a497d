"""Frechet distance between the Gaussian fits of two feature sets (Heusel et al., 2017, arXiv:1706.08500).

``|mu_a - mu_b|^2 + Tr A + Tr B - 2 Tr (A B)^(1/2)``. The last trace is the nuclear norm of
``A^(1/2) B^(1/2)``, so it needs only symmetric eigenvalues and singular values, in fp64. A matrix square root
of the product ``A B``, which is not symmetric, can go wrong without a word where N < d.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import feature_matrix

NEGATIVE = 1e-6  # most negative eigenvalue, relative to the largest, that counts as rounding


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean ``[d]`` and covariance ``[d, d]`` (divisor N - 1) of a feature set, in fp64."""

    count: int
    mean: np.ndarray
    cov: np.ndarray

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
    def of(features: ArrayLike) -> Moments:
        """Moments of rows ``[N, d]``.

        Raises:
            ValueError: fewer than two rows, not a matrix, or non-finite values.
        """
        return RunningMoments().update(features).moments()

    def merge(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint sets; associative and commutative up to rounding.

        Raises:
            ValueError: the dimensions differ.
        """
        return RunningMoments.from_moments(self).merge(RunningMoments.from_moments(other)).moments()


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
        running.count, running.mean = moments.count, moments.mean
        running.scatter = moments.cov * (moments.count - 1)
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
                self.count, self.mean, self.scatter = other.count, other.mean, other.scatter
            return self
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {self.mean.size} and {other.mean.size} features cannot be merged; "
                "expected the same dimension"
            )
        total = self.count + other.count
        shift = other.mean - self.mean
        self.scatter = (
            self.scatter + other.scatter + np.outer(shift, shift) * (self.count * other.count / total)
        )
        self.mean = self.mean + shift * (other.count / total)
        self.count = total
        return self

    def moments(self) -> Moments:
        """What has been seen so far.

        Raises:
            ValueError: fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(f"moments: a covariance needs at least 2 rows, found {self.count}")
        return Moments(self.count, self.mean, self.scatter / (self.count - 1))


def frechet_distance(a: Moments, b: Moments, *, allow_singular: bool = False) -> float:
    """Squared Frechet (2-Wasserstein) distance between the Gaussians with these moments; 0 or more.

    ``allow_singular`` accepts sets of no more rows than features, whose covariance cannot have full rank and
    whose distance is dominated by the bias of small N.

    Raises:
        ValueError: the dimensions differ, a set has N <= d and that was not allowed, or a covariance is not
            positive semi-definite.
    """
    if a.dimension != b.dimension:
        raise ValueError(f"moments of {a.dimension} and {b.dimension} features; expected the same dimension")
    smallest = min(a.count, b.count)
    if smallest <= a.dimension and not allow_singular:
        raise ValueError(
            f"a Frechet distance in {a.dimension} dimensions from {smallest} rows: expected more rows than "
            "dimensions; use more samples, or pass allow_singular=True"
        )
    shift = a.mean - b.mean
    overlap = np.linalg.svd(_root(a.cov) @ _root(b.cov), compute_uv=False).sum()
    distance = shift @ shift + np.trace(a.cov) + np.trace(b.cov) - 2 * overlap
    return max(float(distance), 0.0)  # it is a squared distance: what lies below is rounding


def _root(cov: np.ndarray) -> np.ndarray:
    """Symmetric square root of a covariance.

    Raises:
        ValueError: an eigenvalue is negative beyond rounding.
    """
    values, vectors = np.linalg.eigh(cov)
    if values[0] < -NEGATIVE * max(values[-1], 0.0):
        raise ValueError(
            f"a covariance has the eigenvalue {values[0]:.3g} (the largest is {values[-1]:.3g}); "
            "expected a positive semi-definite matrix"
        )
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
