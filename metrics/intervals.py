"""95 % intervals from one set of stored features: estimand and interval are named in what comes back.

A distance between finite samples is biased upwards, so a bootstrap that resamples it covers the bias, not the
distance: the percentile interval missed the true value almost always in simulation. Here the Frechet distance
is corrected for its bias in two steps and given a score interval, whose variance depends on the distance that
is tested, because the distance of nearby sets is no longer normal. Any other smooth statistic gets the
delete-group jackknife. ``docs/studies/coverage.md`` holds the measured coverage of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from metrics.arrays import class_labels, feature_matrix, matching
from metrics.expansion import Expansion, expand
from metrics.moments import Moments
from metrics.statistics import Interval

ROWS_PER_DIMENSION = 6  # fewest for which the coverage was simulated
SECOND = 5 / 9  # of Expansion.second: variance of the second-order term of the estimate, halves removed
POWER = 0.80


@dataclass(frozen=True)
class IntervalEstimate:
    """A number from one data set with its interval.

    Attributes:
        estimand: what is estimated, in words; interval: how, in words.
        plain: the statistic of the data as they are, bias included.
        estimate: freed from bias; of a distance it can fall below 0 where there is no difference.
        std_error: of the estimate.
        ci95: interval for the estimand, at the level asked for.
    """

    estimand: str
    interval: str
    plain: float
    estimate: float
    std_error: float
    ci95: Interval


@dataclass(frozen=True)
class PairedEstimate(IntervalEstimate):
    """A difference between two sets of paired rows.

    Attributes:
        detectable: smallest true difference that such an interval excludes 0 for with power 0.80.
    """

    detectable: float


def frechet_interval(
    features: ArrayLike,
    reference: ArrayLike | Moments,
    *,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
) -> IntervalEstimate:
    """Interval for the Frechet distance at infinite N, from features ``[N, d]``.

    A reference given as moments is taken as exact; one given as rows ``[M, d]`` is a sample too. The bias of
    order 1/N is removed in closed form and that of order 1/N^2 with two halves of the data (``rng`` says how
    they are split; by default always alike). The interval holds the distances that the estimate does not
    reject at their own variance, 0 or more.

    Raises:
        ValueError: fewer than 6 rows per dimension, values not finite, or dimensions that differ.
    """
    sample, other = _admitted(features, reference)
    split = rng or np.random.default_rng(0)
    against = "this reference" if isinstance(other, Moments) else "the law of the reference rows"
    return _scored(
        [_estimated(sample, other, split)], f"Frechet distance of the generator's law to {against}", level
    )


def class_frechet_interval(
    *,
    real: ArrayLike,
    real_labels: ArrayLike,
    fake: ArrayLike,
    fake_labels: ArrayLike,
    classes: int,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
) -> IntervalEstimate:
    """Interval for the class-conditional Frechet distance at infinite N; arguments as the distance itself.

    The real moments of each class are taken as exact.

    Raises:
        ValueError: as ``class_frechet_distance``, or a class with fewer than 6 fakes per dimension.
    """
    real, fake = matching(real, fake, ("real", "fake"))
    known = class_labels(real_labels, len(real), classes, "real labels")
    asked = class_labels(fake_labels, len(fake), classes, "fake labels")
    split = rng or np.random.default_rng(0)
    parts = []
    for label in range(classes):
        try:
            rows, reference = _admitted(fake[asked == label], Moments.of(real[known == label]))
        except ValueError as error:
            raise ValueError(f"class {label}: {error}") from error
        parts.append(_estimated(rows, reference, split))
    return _scored(parts, "mean over classes of the Frechet distance to this class's reference", level)


def paired_frechet_difference(
    a: ArrayLike,
    b: ArrayLike,
    reference: ArrayLike | Moments,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> PairedEstimate:
    """Interval for the difference of two Frechet distances at infinite N; row i of both shares its noise.

    ``a`` and ``b`` are ``[N, d]``. What rows have in common cancels, and so does the noise of a reference
    given as rows ``[M, d]``.

    Raises:
        ValueError: as ``frechet_interval``, or ``a`` and ``b`` differ in their number of rows.
    """
    first, other = _admitted(a, reference)
    second, _ = _admitted(b, reference)
    if len(first) != len(second):
        raise ValueError(f"paired features: found {len(first)} and {len(second)} rows; expected one each")
    one = _estimated(first, other, np.random.default_rng(seed))
    two = _estimated(second, other, np.random.default_rng(seed))  # the same order of rows
    gap = one.expansion.minus(two.expansion)
    estimate = one.estimate - two.estimate
    error = float(np.sqrt(max(gap.first - (1 - SECOND) * gap.second, SECOND * gap.second)))
    z = float(stats.norm.ppf((1 + level) / 2))
    return PairedEstimate(
        estimand="difference of two Frechet distances to the same reference",
        interval="bias corrected, normal",
        plain=gap.plain,
        estimate=estimate,
        std_error=error,
        ci95=(estimate - z * error, estimate + z * error),
        detectable=(z + float(stats.norm.ppf(POWER))) * error,
    )


def jackknife_interval(
    statistic: Callable[[np.ndarray], float],
    rows: int,
    *,
    estimand: str,
    rng: np.random.Generator | None = None,
    groups: int = 20,
    level: float = 0.95,
) -> IntervalEstimate:
    """Interval of any smooth statistic by the delete-group jackknife (Shao and Wu, 1989), Student t.

    ``statistic(indices)`` is evaluated on all of ``0 .. rows`` and with each of ``groups`` random groups left
    out; no row is ever repeated, so that statistics of nearest neighbours are not upset. A bias of order 1/N
    is removed.

    Raises:
        ValueError: fewer than 5 groups, or fewer rows than groups.
    """
    if groups < 5 or rows < groups:
        raise ValueError(f"expected 5 or more groups and a row for each, found {groups} and {rows} rows")
    order = (rng or np.random.default_rng(0)).permutation(rows)
    parts = np.array_split(order, groups)
    plain = float(statistic(np.arange(rows)))
    left = np.array([statistic(np.sort(np.concatenate(parts[:g] + parts[g + 1 :]))) for g in range(groups)])
    estimate = groups * plain - (groups - 1) * float(left.mean())
    error = float(np.sqrt((groups - 1) / groups * np.square(left - left.mean()).sum()))
    half = float(stats.t.ppf((1 + level) / 2, groups - 1)) * error
    return IntervalEstimate(
        estimand=estimand,
        interval=f"delete-group jackknife, {groups} groups, Student t",
        plain=plain,
        estimate=estimate,
        std_error=error,
        ci95=(estimate - half, estimate + half),
    )


@dataclass(frozen=True)
class _Corrected:
    """An expansion with the estimate that the second correction gives."""

    expansion: Expansion
    estimate: float


def _estimated(sample: np.ndarray, reference: np.ndarray | Moments, rng: np.random.Generator) -> _Corrected:
    """Remove the bias of order 1/N in closed form, and that of 1/N^2 by two halves (Richardson)."""
    rows = sample[rng.permutation(len(sample))]
    other = reference if isinstance(reference, Moments) else reference[rng.permutation(len(reference))]
    whole = expand(rows, other)
    halves = [
        expand(_half(rows, k), other if isinstance(other, Moments) else _half(other, k)) for k in (0, 1)
    ]
    coarse = sum(half.plain - half.bias for half in halves) / 2
    return _Corrected(whole, (4 * (whole.plain - whole.bias) - coarse) / 3)


def _half(rows: np.ndarray, which: Literal[0, 1] | int) -> np.ndarray:
    middle = len(rows) // 2
    return rows[middle:] if which else rows[:middle]


def _scored(parts: list[_Corrected], estimand: str, level: float) -> IntervalEstimate:
    """Score interval of the mean of independent distances.

    At a true distance D the variance is ``v + c D``: the second-order part, and a first-order part that
    vanishes with the distance. Where the estimate is within noise of 0, c is that of the plain distance.
    """
    share = 1 / len(parts)
    plain = sum(part.expansion.plain for part in parts) * share
    estimate = sum(part.estimate for part in parts) * share
    first = sum(part.expansion.first for part in parts) * share**2
    second = sum(part.expansion.second for part in parts) * share**2
    v = SECOND * second
    noise = float(np.sqrt(v))
    steep = max(first - second, 0.0)
    weight = max(estimate, 0.0) + noise
    c = (steep + noise * first / plain) / weight if weight and plain > 0 else 0.0
    z = float(stats.norm.ppf((1 + level) / 2))
    centre = estimate + z * z * c / 2
    half = z * float(np.sqrt(max(v + c * estimate + z * z * c * c / 4, 0.0)))
    return IntervalEstimate(
        estimand=estimand,
        interval="bias corrected, score interval",
        plain=plain,
        estimate=estimate,
        std_error=float(np.sqrt(v + c * max(estimate, 0.0))),
        ci95=(max(centre - half, 0.0), max(centre + half, 0.0)),
    )


def _admitted(features: ArrayLike, reference: ArrayLike | Moments) -> tuple[np.ndarray, np.ndarray | Moments]:
    """Rows in fp64, enough of them, and a reference of the same dimension."""
    rows = feature_matrix(features, "features")
    _enough(rows, "features")
    if isinstance(reference, Moments):
        if reference.dimension != rows.shape[1]:
            raise ValueError(
                f"features have {rows.shape[1]} columns and the reference {reference.dimension}; "
                "expected the same"
            )
        return rows, reference
    _, other = matching(rows, reference, ("features", "reference"))
    _enough(other, "reference")
    return rows, other


def _enough(rows: np.ndarray, name: str) -> None:
    fewest = ROWS_PER_DIMENSION * rows.shape[1]
    if len(rows) < fewest:
        raise ValueError(
            f"{name}: {len(rows)} rows in {rows.shape[1]} dimensions; expected {fewest} or more "
            f"({ROWS_PER_DIMENSION} per dimension) for an interval of the Frechet distance"
        )
