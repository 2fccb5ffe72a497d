"""From two measured sides to a verdict: differences with 95 % intervals, without numerics packages.

Where a side has several trainings, its uncertainty is their spread; else it is that of the sampling repeats,
which says nothing of another training, and the verdict carries a dagger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import mean, variance

from bench.record import MetricValue
from bench.report.statistics import Estimate, estimate, student_t975

ROUNDING = 1e-9  # of degrees of freedom that are a whole number


class Verdict(StrEnum):
    """What the numbers say of a statement."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not separable"
    MISSING = "not measured"


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several parts together: one that fails decides, then what is missing, then doubt."""
    order = (Verdict.FAILS, Verdict.MISSING, Verdict.OPEN)
    return next((worst for worst in order if worst in verdicts), Verdict.HOLDS)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        values: one per training seed.
        sampling: seed of the first repeat; equal ones mean equal noise, so that repeats pair off.
        student: whether another training would give another number (references have none).
    """

    label: str
    values: tuple[MetricValue, ...]
    sampling: int | None = None
    student: bool = True

    @property
    def seeds(self) -> int:
        """Trainings behind the number."""
        return len(self.values)

    @property
    def repeats(self) -> int:
        """Sampling repeats of each training, the fewest of them."""
        return min(len(value.values) for value in self.values)

    @property
    def estimate(self) -> Estimate:
        """The number as tables show it."""
        return estimate(self.values)

    @property
    def unvaried(self) -> bool:
        """Whether how much another training would differ is unknown."""
        return self.student and self.seeds < 2

    def draws(self) -> list[float]:
        """What is varied: the means of the trainings, or the repeats of a single one."""
        return [v.mean for v in self.values] if self.seeds > 1 else list(self.values[0].values)


@dataclass(frozen=True)
class Difference:
    """``ours - theirs`` with its 95 % interval (None if nothing was repeated)."""

    mean: float
    interval: tuple[float, float] | None


def difference(ours: Side, theirs: Side) -> Difference:
    """The difference: paired by sampling seed where both sides are one training, else Welch's.

    Degrees of freedom of Welch's interval are rounded down, which widens it.
    """
    a, b = ours.draws(), theirs.draws()
    single = ours.seeds == theirs.seeds == 1
    if single and ours.sampling is not None and ours.sampling == theirs.sampling and len(a) == len(b) > 1:
        return _interval([x - y for x, y in zip(a, b, strict=True)])
    centre = ours.estimate.mean - theirs.estimate.mean
    if min(len(a), len(b)) < 2:
        return Difference(centre, None)
    parts = [(variance(draws) / len(draws), len(draws) - 1) for draws in (a, b)]
    total = sum(v for v, _ in parts)
    if total == 0:
        return Difference(centre, (centre, centre))
    freedom = max(1, int(total**2 / sum(v**2 / n for v, n in parts) + ROUNDING))
    half = student_t975(freedom) * math.sqrt(total)
    return Difference(centre, (centre - half, centre + half))


def _interval(draws: Sequence[float]) -> Difference:
    half = student_t975(len(draws) - 1) * math.sqrt(variance(draws) / len(draws))
    return Difference(mean(draws), (mean(draws) - half, mean(draws) + half))


def judge(found: Difference, margin: float = 0.0, better: str = "lower") -> Verdict:
    """Whether ours is better than theirs (margin 0), or worse by no more than a margin.

    With a margin, all of the interval has to lie below it to hold and above it to fail.

    Args:
        margin: 0 or more, in the units of the metric.
        better: "lower" or "higher".
    """
    if found.interval is None:
        return Verdict.OPEN
    low, high = found.interval if better == "lower" else (-found.interval[1], -found.interval[0])
    if high < margin:
        return Verdict.HOLDS
    return Verdict.FAILS if low > margin else Verdict.OPEN
