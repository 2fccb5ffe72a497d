"""The Frechet distance as a function of samples, to second order: what its bias and variance are made of.

With ``M = S^(1/2) Sigma S^(1/2) = U diag(r^2) U'`` the optimal transport map from the Gaussian of the sample
to that of the reference is ``T = S^(1/2) M^(-1/2) S^(1/2)``. Taken half of the way, by ``T^(1/2)`` from one
side and by ``T^(-1/2)`` from the other, both sets have the covariance ``diag(r)`` in the basis U. In these
coordinates (``a`` for sample rows, ``b`` for reference rows) all derivatives are plain:

    first order, sample      |x|^2 - |a|^2 + 2 x . shift         (the Kantorovich potential, twice)
    first order, reference   |y|^2 - |b|^2 - 2 y . shift
    second order             sum_ij (a_i a_j - r_i d_ij)(a'_i a'_j - r_i d_ij) / (r_i + r_j) + 2 x . x'

with rows taken about their means; the mixed second derivative of a sample and a reference row is the negative
of the last line. Derived here from ``d tr X^(1/2)``; the map is that of Dowson and Landau (1982).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from metrics.moments import Moments

BLOCK = 4096  # rows at a time: memory does not grow with N beyond the features themselves
RANK = 1e-7  # smallest r, relative to the largest, of a direction that both sets have


@dataclass(frozen=True, eq=False)
class Expansion:
    """A Frechet distance about the observed moments.

    Attributes:
        plain: the distance of the moments.
        bias: of order 1/N, estimated.
        influence: first-order effect of every row, for each sampled set (up to a constant).
        pairs: second-order effect of pairs of rows with what its mean square is multiplied by.
    """

    plain: float
    bias: float
    influence: tuple[np.ndarray, ...]
    pairs: tuple[tuple[np.ndarray, float], ...]

    @property
    def first(self) -> float:
        """Variance of the distance by the delta method; near zero distance twice too large."""
        return float(sum(values.var(ddof=1) / len(values) for values in self.influence))

    @property
    def second(self) -> float:
        """What noise in the gradient adds to ``first``: twice the variance of the second-order term."""
        return float(sum(weight * np.square(values).mean() for values, weight in self.pairs))

    def minus(self, other: Expansion) -> Expansion:
        """Expansion of the difference of two distances whose rows, and references, are paired."""
        return Expansion(
            self.plain - other.plain,
            self.bias - other.bias,
            tuple(a - b for a, b in zip(self.influence, other.influence, strict=True)),
            tuple((a - b, weight) for (a, weight), (b, _) in zip(self.pairs, other.pairs, strict=True)),
        )


class Transport:
    """The way between two Gaussians: distance and common coordinates.

    Attributes:
        distance: Frechet distance of the moments.
        shift: difference of the means; r: variances in the common coordinates ``[k]``.
        from_sample, from_reference: ``[d, k]``, rows about their mean to common coordinates.
    """

    def __init__(self, sample: Moments, reference: Moments) -> None:
        root, inverse = roots(reference.cov)
        squares, basis = np.linalg.eigh(root @ sample.cov @ root)
        r = np.sqrt(np.clip(squares, 0, None))
        self.shift = sample.mean - reference.mean
        traces = np.trace(sample.cov) + np.trace(reference.cov)
        self.distance = float(self.shift @ self.shift + traces - 2 * r.sum())
        shared = r > RANK * r[-1]
        self.r = r[shared]
        self.from_sample = root @ basis[:, shared] / np.sqrt(self.r)
        self.from_reference = inverse @ basis[:, shared] * np.sqrt(self.r)

    def form(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The double sum of the second order, for pairs of rows ``[P, k]``."""
        product = a * b
        whole = ((product @ (1 / (self.r[:, None] + self.r))) * product).sum(axis=1)
        return np.asarray(whole - ((a * a).sum(1) + (b * b).sum(1) - self.r.sum()) / 2)


def roots(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric square root and its pseudo-inverse."""
    values, vectors = np.linalg.eigh(cov)
    scale = np.sqrt(np.clip(values, 0, None))
    alive = scale > RANK * scale[-1]
    inverse = np.where(alive, 1 / np.where(alive, scale, 1), 0)
    return (vectors * scale) @ vectors.T, (vectors * inverse) @ vectors.T


def expand(sample: np.ndarray, reference: np.ndarray | Moments) -> Expansion:
    """Expansion of the distance of rows ``[N, d]`` to a reference: moments taken as exact, or rows.

    Rows must be in random order: neighbours are the pairs that the second order is averaged over.
    """
    known = isinstance(reference, Moments)
    ours = Moments.of(sample)
    theirs = reference if isinstance(reference, Moments) else Moments.of(reference)
    way = Transport(ours, theirs)
    bias, influence, pairs = _side(sample, ours, way, way.from_sample, way.shift)
    if known:
        return Expansion(way.distance, bias, (influence,), (pairs,))
    assert isinstance(reference, np.ndarray)
    other, reference_influence, reference_pairs = _side(
        reference, theirs, way, way.from_reference, -way.shift
    )
    mixed = _mixed(sample - ours.mean, reference - theirs.mean, way)
    weight = 2 / (len(sample) * len(reference))
    return Expansion(
        way.distance,
        bias + other,
        (influence, reference_influence),
        (pairs, reference_pairs, (mixed, weight)),
    )


def _side(
    rows: np.ndarray, moments: Moments, way: Transport, matrix: np.ndarray, shift: np.ndarray
) -> tuple[float, np.ndarray, tuple[np.ndarray, float]]:
    """Bias, influence and pairs of one sampled set."""
    count, size = len(rows), len(way.r)
    fourth, influence, pairs = np.zeros((size, size)), [], []
    for z in _blocks(rows - moments.mean):
        a = z @ matrix
        squares = a * a
        fourth += squares.T @ squares
        influence.append((z * z).sum(1) - squares.sum(1) + 2 * z @ shift)
        pairs.append(way.form(a[1:], a[:-1]) + 2 * (z[1:] * z[:-1]).sum(1))
    spread = fourth / count - np.diag(way.r**2)  # variance of the products a_i a_j
    curvature = (spread / (way.r[:, None] + way.r)).sum() / 2 + np.trace(moments.cov)
    return float(curvature / count), np.concatenate(influence), (np.concatenate(pairs), count**-2.0)


def _mixed(sample: np.ndarray, reference: np.ndarray, way: Transport) -> np.ndarray:
    """Second-order effect of pairs of a sample row and a reference row, without its sign."""
    count = min(len(sample), len(reference))
    both = zip(_blocks(sample[:count]), _blocks(reference[:count]), strict=True)
    return np.concatenate(
        [way.form(z @ way.from_sample, y @ way.from_reference) + 2 * (z * y).sum(1) for z, y in both]
    )


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Row blocks of nearly equal size, none longer than ``BLOCK``."""
    edges = np.linspace(0, len(rows), -(-len(rows) // BLOCK) + 1).astype(int)
    return (rows[start:end] for start, end in pairwise(edges))
