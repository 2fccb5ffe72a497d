"""How fast a student's excess falls: a line in log-log, fitted by a rule fixed beforehand.

The rule: from the first snapshot after the untrained one to the first whose excess is at most 1.5 times the
final one. What comes later is noise around the end value, what comes before is not training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from bench.record import Record
from bench.report.curves import Curve, Excess
from bench.report.text import compact
from bench.suite import Suite

NEAR_END = 1.5  # times the final excess


@dataclass(frozen=True)
class Fit:
    """``log excess = a + slope log work`` over ``points`` snapshots up to ``until`` units; R² of the line."""

    slope: float
    r2: float
    points: int
    until: float


def loglog_fit(curve: Curve) -> Fit | None:
    """Fit by the rule; None with fewer than three snapshots in it or an excess that is not positive."""
    trained = [(work, excess) for work, excess in curve if work > 0]
    if len(trained) < 3 or min(excess for _, excess in trained) <= 0:
        return None
    last = next(i for i, (_, excess) in enumerate(trained) if excess <= NEAR_END * trained[-1][1])
    x = [math.log(work) for work, _ in trained[: last + 1]]
    y = [math.log(excess) for _, excess in trained[: last + 1]]
    if len(x) < 3:
        return None
    dx, dy = [a - mean(x) for a in x], [b - mean(y) for b in y]
    sxy, sxx = sum(a * b for a, b in zip(dx, dy, strict=True)), sum(a * a for a in dx)
    left = sum((b - sxy / sxx * a) ** 2 for a, b in zip(dx, dy, strict=True))
    total = sum(b * b for b in dy)
    return Fit(sxy / sxx, 1 - left / total if total else 1.0, len(x), trained[last][0])


def fit_lines(records: Sequence[Record], suite: Suite) -> list[str]:
    """One line per student and step count whose curve can be fitted."""
    lines = []
    for (name, steps), curve in sorted(Excess.of(records, suite).curves().items()):
        fit = loglog_fit(curve)
        if fit is not None:
            lines.append(
                f"{name}, {steps} steps: excess ~ work^{fit.slope:.2f}, R² {fit.r2:.3f} "
                f"({fit.points} snapshots, to {compact(fit.until)} units)"
            )
    return lines
