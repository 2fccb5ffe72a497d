"""Kernel Inception Distance (Binkowski et al., 2018, arXiv:1801.01401), computed by torch-fidelity.

The squared maximum mean discrepancy under ``k(x, y) = (x y / d + 1)^3``, unbiased: no bias of small N, and a
value below zero is an estimate of zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch_fidelity.metric_kid import kid_features_to_metric

from metrics.arrays import matching


class KernelDistance(NamedTuple):
    """Mean over subsets, and what it was taken of.

    Attributes:
        mean: the distance; not multiplied by 1,000.
        std: over subsets, which overlap: no standard error of the mean.
        subsets, subset_size, seed: the law of the subsets.
    """

    mean: float
    std: float
    subsets: int
    subset_size: int
    seed: int


def kernel_distance(
    *, real: ArrayLike, fake: ArrayLike, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> KernelDistance:
    """Distance of features ``real [N, d]`` and ``fake [M, d]``, mean over random subsets, in fp64.

    Defaults are torch-fidelity's, also its law of subsets: rows without replacement, by ``seed``.

    Raises:
        ValueError: the sets differ in d, are not finite, or hold fewer rows than a subset; or no subsets.
    """
    real, fake = matching(real, fake, ("real", "fake"))
    if subsets < 1 or subset_size < 2 or min(len(real), len(fake)) < subset_size:
        raise ValueError(
            f"{subsets} subsets of {subset_size} among {len(real)} real and {len(fake)} fake rows; expected "
            "one subset or more, each of 2 rows or more and no larger than either set"
        )
    found = kid_features_to_metric(
        torch.from_numpy(fake),
        torch.from_numpy(real),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=seed,
        verbose=False,
    )
    mean, std = (float(found[f"kernel_inception_distance_{name}"]) for name in ("mean", "std"))
    return KernelDistance(mean, std, subsets, subset_size, seed)
