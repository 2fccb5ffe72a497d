"""Inception Score (Salimans et al., 2016, arXiv:1606.03498), computed by torch-fidelity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch_fidelity.metric_isc import isc_features_to_metric

from metrics.arrays import feature_matrix


class InceptionScore(NamedTuple):
    """Mean over splits, 1 to the number of classes; higher is better.

    Attributes:
        std: over splits.
        splits: how many; the score falls with the size of a split.
        shuffled_by: seed of the shuffle before splitting; None where rows keep their order.
    """

    mean: float
    std: float
    splits: int
    shuffled_by: int | None


def inception_score(logits: ArrayLike, splits: int = 10, shuffle_seed: int | None = 2020) -> InceptionScore:
    """Exponential of the mean divergence of class probabilities from their mean, for each of ``splits``.

    ``logits [N, classes]`` without the bias of the last layer, in fp64. Defaults are torch-fidelity's; ADM
    and StyleGAN keep the order of samples (``shuffle_seed=None``): it matters where they are sorted by class.

    Raises:
        ValueError: not a finite matrix, or fewer rows than splits.
    """
    rows = feature_matrix(logits, "logits")
    if splits < 1 or len(rows) < splits:
        raise ValueError(f"{splits} splits of {len(rows)} rows; expected one row or more in each split")
    found = isc_features_to_metric(
        torch.from_numpy(rows), splits=splits, shuffle=shuffle_seed is not None, rng_seed=shuffle_seed
    )
    mean, std = (float(found[f"inception_score_{name}"]) for name in ("mean", "std"))
    return InceptionScore(mean, std, splits, shuffle_seed)
