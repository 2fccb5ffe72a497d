"""Where the spread of a metric comes from: training seed, sampling seed, subset. No numerics packages.

Value ``y[s][r][k]`` is of training seed s, block of samples r and subset k of that block. All trainings meet
the same blocks, so that seeds and blocks are crossed. Model: ``y = mean + training_s + sampling_r + rest_sr +
subset_srk``, all random; variances by the method of moments (two-way analysis of variance), negative ones set
to 0. With a single training, or a single block, what is left over counts for the source that was varied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean as mean


@dataclass(frozen=True)
class VarianceSplit:
    """Variances of one value, by source; None for a source that was not varied.

    Attributes:
        training: between training seeds; sampling: between blocks of samples, the same for all trainings.
        rest: of a training on a block, beyond both; holds the subset's where no subsets were measured.
        subset: within a block, at the size of the subsets.
    """

    training: float | None
    sampling: float | None
    rest: float | None
    subset: float | None

    @property
    def parts(self) -> dict[str, float]:
        """Standard deviations of the sources that were varied."""
        return {name: value**0.5 for name, value in vars(self).items() if value is not None}


def split_variance(values: Sequence[Sequence[Sequence[float]]]) -> VarianceSplit:
    """Variance components of values ``[seeds][blocks][subsets]``.

    Raises:
        ValueError: no value, or cells that are not all of one size.
    """
    seeds, blocks = len(values), len(values[0]) if values else 0
    subsets = len(values[0][0]) if blocks else 0
    if not subsets or any(len(row) != blocks or any(len(c) != subsets for c in row) for row in values):
        raise ValueError("variance split: expected values [seeds][blocks][subsets], each of one length")
    cells = [[mean(cell) for cell in row] for row in values]
    within = None
    if subsets > 1:
        within = mean(_spread(cell) for row in values for cell in row)
    noise = 0.0 if within is None else within / subsets  # of a cell's mean
    rows, columns = [mean(row) for row in cells], [mean(column) for column in zip(*cells, strict=True)]
    between_rows, between_columns = _variance(rows), _variance(columns)
    if between_rows is None or between_columns is None:  # one way only: nothing is left to be told apart
        one_way = between_columns if between_rows is None else between_rows
        only = None if one_way is None else max(one_way - noise, 0.0)
        return VarianceSplit(
            only if between_rows is not None else None,
            only if between_columns is not None else None,
            None,
            within,
        )
    centre = mean(rows)
    residuals = [
        (cells[s][r] - rows[s] - columns[r] + centre) ** 2 for s in range(seeds) for r in range(blocks)
    ]
    residual = sum(residuals) / ((seeds - 1) * (blocks - 1))
    return VarianceSplit(
        max(between_rows - residual / blocks, 0.0),
        max(between_columns - residual / seeds, 0.0),
        max(residual - noise, 0.0),
        within,
    )


def spread_of_trainings(values: Sequence[Sequence[float]]) -> VarianceSplit | None:
    """Split of values ``[seeds][blocks]``; None for one training, or where the blocks are not the same."""
    if len(values) < 2 or len({len(each) for each in values}) > 1:
        return None
    return split_variance([[[value] for value in each] for each in values])


def _variance(values: Sequence[float]) -> float | None:
    """With n - 1 in the divisor; None for a single value."""
    return _spread(values) if len(values) > 1 else None


def _spread(values: Sequence[float]) -> float:
    """Variance with n - 1 in the divisor."""
    centre = mean(values)
    return fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
