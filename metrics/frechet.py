"""Frechet distance between the Gaussian fits of two feature sets (Heusel et al., 2017, arXiv:1706.08500).

``|mu_a - mu_b|^2 + Tr A + Tr B - 2 Tr (A B)^(1/2)``. With ``A = L L^T`` the eigenvalues of ``A B`` are those
of the symmetric ``L^T B L``, so that the last trace takes one Cholesky factor and fp64 eigenvalues without
vectors. A matrix square root of the product ``A B``, which is not symmetric, can go wrong without a word
where N < d.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg.blas import dtrmm

from metrics.moments import Moments

NEGATIVE = 1e-6  # most negative eigenvalue, relative to the largest, that counts as rounding
ROUNDING = (
    1e-9  # error of the overlap, relative to the total variance, that eigenvalues of a product may have
)


def frechet_distance(a: Moments, b: Moments, *, allow_singular: bool = False) -> float:
    """Squared Frechet (2-Wasserstein) distance between the Gaussians with these moments; 0 or more.

    FID, sFID and FD-DINOv2 are this distance of different features. ``allow_singular`` accepts sets of no
    more rows than features, whose covariance cannot have full rank and whose distance is dominated by the
    bias of small N.

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
            "dimensions, because the covariance has no full rank and the bias of small N dominates; "
            "use more samples, or pass allow_singular=True"
        )
    shift = a.mean - b.mean
    distance = shift @ shift + np.trace(a.cov) + np.trace(b.cov) - 2 * _overlap(a.cov, b.cov)
    return max(float(distance), 0.0)  # it is a squared distance: what lies below is rounding


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """``Tr (A B)^(1/2)``."""
    # a feature that is constant in one set takes no part, and would spoil the Cholesky factor
    moving = (np.diagonal(a) != 0) & (np.diagonal(b) != 0)
    if not moving.all():
        a, b = a[np.ix_(moving, moving)], b[np.ix_(moving, moving)]
    if not moving.any():
        return 0.0
    factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(a))
    if not failed:
        eigenvalues = torch.linalg.eigvalsh(torch.from_numpy(_congruent(factor.numpy(), b))).numpy()
        noise = np.finfo(np.float64).eps * eigenvalues[-1]
        error = (noise / np.sqrt(np.maximum(eigenvalues, noise))).sum()
        if eigenvalues[0] > 0 and error <= ROUNDING * (np.trace(a) + np.trace(b)):
            return float(np.sqrt(eigenvalues).sum())
    return _nuclear_overlap(a, b)


def _congruent(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``L^T B L`` of a lower triangular L, by two triangular products (half the work of full ones)."""
    right = dtrmm(1.0, lower, b.T, side=1, lower=1)  # B L; b.T is b, in the order that BLAS reads uncopied
    return np.asarray(dtrmm(1.0, lower, right, side=0, lower=1, trans_a=1, overwrite_b=1))


def _nuclear_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """``Tr (A B)^(1/2)`` as the sum of singular values of ``A^(1/2) B^(1/2)``: slower, exact at any rank."""
    product = torch.from_numpy(_half(a).T @ _half(b))
    return float(torch.linalg.svdvals(product).sum()) if product.numel() else 0.0


def _half(cov: np.ndarray) -> np.ndarray:
    """``H [d, r]`` with ``H H^T`` the covariance and r its numerical rank.

    Raises:
        ValueError: an eigenvalue is negative beyond rounding.
    """
    values, vectors = (x.numpy() for x in torch.linalg.eigh(torch.from_numpy(cov)))
    if values[0] < -NEGATIVE * max(values[-1], 0.0):
        raise ValueError(
            f"a covariance has the eigenvalue {values[0]:.3g} (the largest is {values[-1]:.3g}); "
            "expected a positive semi-definite matrix"
        )
    kept = values > len(cov) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
