"""The statistics of tables, without numerics packages: intervals over seeds, ranks and tie letters."""

from __future__ import annotations

import math
import string
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean as mean
from typing import Literal

from bench.record import MetricValue

Aggregate = Literal["mean", "min"]


@dataclass(frozen=True)
class Estimate:
    """A number of a table with what is known of its error.

    Attributes:
        interval: 95 % interval of the mean, None if nothing was repeated.
        over: what was varied for the interval: training seeds, or sampling seeds only ("repeats").
    """

    mean: float
    interval: tuple[float, float] | None
    over: Literal["seeds", "repeats", "nothing"]

    @property
    def half(self) -> float | None:
        """Half of the interval's length."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


def estimate(values: Sequence[MetricValue], aggregate: Aggregate = "mean") -> Estimate:
    """One metric of one row from its training seeds: the mean over seeds and its Student-t interval.

    With a single seed the interval is the record's own, over sampling repeats.

    Args:
        aggregate: what stands for a seed: the mean of its repeats, or the least, of which a single seed gives
            no interval.
    """
    if aggregate == "min":
        values = [MetricValue(mean=min(value.values), values=value.values) for value in values]
    if len(values) == 1:
        return Estimate(values[0].mean, values[0].ci95, "repeats" if values[0].ci95 else "nothing")
    means = [value.mean for value in values]
    centre = mean(means)
    deviation = math.sqrt(math.fsum((one - centre) ** 2 for one in means) / (len(means) - 1))
    half = student_t975(len(means) - 1) * deviation / math.sqrt(len(means))
    return Estimate(centre, (centre - half, centre + half), "seeds")


def clearly_better(a: Estimate, b: Estimate, better: str) -> bool:
    """Whether ``a`` beats ``b`` with disjoint 95 % intervals; never where an interval is unknown.

    Args:
        better: "lower" or "higher".
    """
    if a.interval is None or b.interval is None:
        return False
    return a.interval[1] < b.interval[0] if better == "lower" else a.interval[0] > b.interval[1]


def ranks(estimates: Sequence[Estimate], better: str) -> list[int]:
    """Rank of each: one more than the number of rows that are clearly better."""
    sign = 1 if better == "lower" else -1
    known = [_span(one, sign) for one in estimates if one.interval is not None]
    worst = sorted(high for _, high in known)
    return [1 if one.interval is None else 1 + bisect_left(worst, _span(one, sign)[0]) for one in estimates]


def tie_letters(estimates: Sequence[Estimate], better: str) -> list[str]:
    """Letters such that two rows share one exactly if they are not separable; "" if separable from all.

    A letter is a maximal set of rows whose intervals have a point in common (an unknown one is the line).
    Such sets are found in one sweep: they are full just before the first interval ends after one began.
    More than 26 sets are numbered from the best; those of a row follow each other, as "7" or "7-12".
    """
    sign = 1 if better == "lower" else -1
    spans = [_span(one, sign) for one in estimates]
    begins = [(low, 0, i) for i, (low, _) in enumerate(spans)]
    events = sorted([*begins, *((high, 1, i) for i, (_, high) in enumerate(spans))])
    open_, grown, sets = set[int](), False, list[frozenset[int]]()
    for _, ends, i in events:
        if not ends:
            open_.add(i)
        elif grown and len(open_) > 1:
            sets.append(frozenset(open_))
        grown = not ends
        if ends:
            open_.remove(i)
    if len(sets) > len(string.ascii_lowercase):
        return _ranges(sets, len(spans))
    best_first = sorted(sets, key=lambda c: sorted(sign * estimates[i].mean for i in c))
    letters = [""] * len(spans)
    for k, members in enumerate(best_first):
        for i in members:
            letters[i] += string.ascii_lowercase[k]
    return letters


def _span(one: Estimate, sign: int) -> tuple[float, float]:
    """The interval in the direction of worse; an unknown one is the line."""
    low, high = one.interval or (-math.inf, math.inf)
    return (low, high) if sign == 1 else (-high, -low)


def _ranges(sets: Sequence[frozenset[int]], count: int) -> list[str]:
    """First and last set of each row: an interval meets the sets of a sweep without a gap."""
    found: list[list[int]] = [[] for _ in range(count)]
    for k, members in enumerate(sets, 1):
        for i in members:
            found[i].append(k)
    return ["-".join(dict.fromkeys((str(k[0]), str(k[-1])))) if k else "" for k in found]


@cache
def detectable975(freedom: int, power: float = 0.80) -> float:
    """Smallest true difference, in standard errors, that a two-sided t-test at 5 % finds with ``power``.

    By the non-central t law with ``freedom`` >= 1 degrees: its chi part is integrated by the midpoint rule.
    """
    critical, pieces = student_t975(freedom), 2000
    widest = 1 + 12 / math.sqrt(2 * freedom)  # of s over sigma
    scale = math.log(2) + freedom / 2 * math.log(freedom / 2) - math.lgamma(freedom / 2)

    def density(s: float) -> float:
        return math.exp(scale + (freedom - 1) * math.log(s) - freedom * s * s / 2)

    grid = [widest * (k + 0.5) / pieces for k in range(pieces)]
    weights = [density(s) * widest / pieces for s in grid]

    def found(effect: float) -> float:
        beyond = (_normal(effect - critical * s) + _normal(-effect - critical * s) for s in grid)
        return sum(weight * share for weight, share in zip(weights, beyond, strict=True))

    low, high = 0.0, 6 * critical
    for _ in range(40):
        effect = (low + high) / 2
        low, high = (effect, high) if found(effect) < power else (low, effect)
    return low


def _normal(z: float) -> float:
    """Distribution function of the normal law."""
    return math.erfc(-z / math.sqrt(2)) / 2


@cache
def student_t975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with ``freedom`` >= 1 degrees.

    Bisection on the finite sums for integer degrees (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        theta = (low + high) / 2
        low, high = (theta, high) if _two_sided(theta, freedom) < 0.95 else (low, theta)
    return math.tan(low) * math.sqrt(freedom)


def _two_sided(theta: float, freedom: int) -> float:
    """``P(|T| < t)`` with ``tan(theta) = t / sqrt(freedom)``."""
    odd = freedom % 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for k in range(3 if odd else 2, freedom, 2):
        term *= (k - 1) / k * math.cos(theta) ** 2
        total += term
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total
