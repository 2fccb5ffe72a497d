"""Statistics over repeats: intervals, paired differences, the bootstrap, and what a test can resolve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """What repeats say about a quantity.

    Attributes:
        mean: over the repeats.
        std: with n - 1 in the divisor; None for one repeat.
        ci95: Student-t interval of the mean; None for one repeat.
        values: the repeats themselves.
    """

    mean: float
    std: float | None
    ci95: Interval | None
    values: tuple[float, ...]


def summarise(values: ArrayLike, level: float = 0.95) -> Summary:
    """Mean, standard deviation and Student-t interval of one value per repeat.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    sample = _finite(values, "values")
    mean = float(sample.mean())
    if len(sample) == 1:
        return Summary(mean, None, None, tuple(sample.tolist()))
    std = float(sample.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, len(sample) - 1)) * std / np.sqrt(len(sample))
    return Summary(mean, std, (float(mean - half), float(mean + half)), tuple(sample.tolist()))


def paired_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Summary:
    """Summary of ``a_i - b_i`` where repeat i of both shares its noise or data (common random numbers).

    Raises:
        ValueError: the lengths differ, or a value is not finite.
    """
    first, second = _finite(a, "a"), _finite(b, "b")
    if len(first) != len(second):
        raise ValueError(f"paired values: found {len(first)} and {len(second)}; expected one pair per repeat")
    return summarise(first - second, level)


def bootstrap_mean(
    values: ArrayLike, rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of the mean (Efron, 1979).

    Raises:
        ValueError: no value, or one that is not finite.
    """
    sample = _finite(values, "values")
    means = [sample[rng.integers(len(sample), size=len(sample))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def detectable_difference(std: float, repeats: int, alpha: float = 0.05, power: float = 0.80) -> float:
    """Smallest true difference that a two-sided t-test on ``repeats`` values each finds with ``power``.

    Exact, by the non-central t law; ``std`` is that of one repeat, equal in both groups, and sets the unit.

    Raises:
        ValueError: fewer than two repeats, or std negative.
    """
    if repeats < 2 or std < 0:
        raise ValueError(f"expected 2 or more repeats and std >= 0, found {repeats} and {std}")
    freedom = 2 * (repeats - 1)
    critical = stats.t.ppf(1 - alpha / 2, freedom)

    def shortfall(effect: float) -> float:
        found = stats.nct.sf(critical, freedom, effect) + stats.nct.cdf(-critical, freedom, effect)
        return float(found) - power

    effect = optimize.brentq(shortfall, 0.0, 5 * critical)  # the difference over its standard error
    return float(effect) * std * float(np.sqrt(2 / repeats))


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
        raise ValueError(f"{name}: expected one or more finite numbers, found {values!r}")
    return sample
