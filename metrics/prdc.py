"""Improved precision and recall (Kynkaanniemi et al., 2019, arXiv:1904.06991), computed by torch-fidelity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch_fidelity.metric_prc import prc_features_to_metric

from metrics.arrays import matching

BLOCK = 1000  # rows of a distance block: 80 MB against 10,000 rows


class PrecisionRecall(NamedTuple):
    """Shares in 0..1.

    Attributes:
        precision: of the fakes, those inside the real manifold.
        recall: of the reals, those inside the fake manifold; what a collapsed generator loses.
        k: which neighbour sets a ball's radius.
        real_count, fake_count: rows of each set; values at other counts do not compare.
    """

    precision: float
    recall: float
    k: int
    real_count: int
    fake_count: int


def precision_recall(*, real: ArrayLike, fake: ArrayLike, k: int = 3) -> PrecisionRecall:
    """Precision and recall of features ``real [N, d]`` and ``fake [M, d]``.

    A set's manifold is the union of the balls around its rows that reach to the k-th nearest other row. It
    depends on N and M: only values at equal sizes compare. Roles are named: swapping them swaps the results.

    Raises:
        ValueError: the sets differ in d, are not finite, or hold no more than k rows.
    """
    real, fake = matching(real, fake, ("real", "fake"))
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(
            f"k = {k} with {len(real)} real and {len(fake)} fake rows; expected more than k of each"
        )
    found = prc_features_to_metric(
        torch.from_numpy(fake),
        torch.from_numpy(real),
        prc_neighborhood=k,
        prc_batch_size=BLOCK,
        save_cpu_ram=True,  # in blocks
        verbose=False,
    )
    return PrecisionRecall(found["precision"], found["recall"], k, len(real), len(fake))
