"""SiD: it reaches its teacher in one step, and its excess falls near-linearly in log-log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from bench.claims.parts import Finding, Line, Rules, absent, distance, interval
from bench.claims.rows import Board, Wanted, measured
from bench.claims.verdicts import Difference, judge
from bench.record import Record
from bench.report.curves import Excess
from bench.report.fit import Fit, loglog_fit
from bench.report.statistics import student_t975

SID = Wanted("sid", 1)


@dataclass(frozen=True)
class ReachesTeacher:
    """SiD in one step is no worse than the teacher at its largest NFE, up to the margin."""

    key: str = "sid-teacher"
    methods: tuple[str, ...] = ("sid",)

    def check(self, board: Board, rules: Rules) -> Finding:
        return Finding((distance(board, "reaches", SID, None, margin=rules.margin),))


@dataclass(frozen=True)
class FallsAsPower:
    """The slope of the line is below zero, and the line explains most of the variance.

    Intervals are over trainings; of a single one, that of the slope is of the fit, and R's is Fisher's.
    """

    key: str = "sid-rate"
    methods: tuple[str, ...] = ("sid",)

    def check(self, board: Board, rules: Rules) -> Finding:
        found = board.trainings(SID)
        fits = [fit for record, _ in found if (fit := self.fit(board, record)) is not None]
        names = ("excess ~ work^slope with slope < 0", f"R² >= {rules.r2:g}")
        if not fits:
            label = f"a curve of {SID.label} with at least three snapshots to fit"
            return Finding(tuple(absent(name, [(label, None)]) for name in names))
        several = len(fits) > 1
        slope = over([fit.slope for fit in fits]) if several else of_slope(fits[0])
        r2 = over([fit.r2 for fit in fits]) if several else of_r2(fits[0])
        verdicts = judge(slope), judge(Difference(r2.mean - rules.r2, moved(r2, -rules.r2)), better="higher")
        lines = (
            Line(name, v, interval(d, 3, sign=""), seeds=str(len(fits)), repeats="1", unvaried=not several)
            for name, v, d in zip(names, verdicts, (slope, r2), strict=True)
        )
        used = ", ".join(f"{fit.points} snapshots to {fit.until:.3g} units" for fit in fits)
        return Finding(tuple(lines), (f"Fitted by the rule of the boards: {used}.",))

    def fit(self, board: Board, record: Record) -> Fit | None:
        """The line of one training."""
        curves = Excess.of([record, *board.references("anchor")], board.suite).curves()
        return loglog_fit(curves[record.label, 1]) if (record.label, 1) in curves else None


def over(values: Sequence[float]) -> Difference:
    """Mean and interval over trainings."""
    return Difference(mean(values), measured(values).ci95)


def of_slope(fit: Fit) -> Difference:
    """The slope's interval from the residuals of the line: ``se = |slope| sqrt((1/R² - 1) / (n - 2))``."""
    if fit.r2 <= 0:
        return Difference(fit.slope, None)
    half = student_t975(fit.points - 2) * abs(fit.slope) * math.sqrt((1 / fit.r2 - 1) / (fit.points - 2))
    return Difference(fit.slope, (fit.slope - half, fit.slope + half))


def of_r2(fit: Fit) -> Difference:
    """The interval of R² from Fisher's z of the correlation; unknown from three points."""
    if fit.points < 4 or fit.r2 >= 1:
        return Difference(fit.r2, None)
    z, half = math.atanh(math.sqrt(fit.r2)), 1.96 / math.sqrt(fit.points - 3)
    return Difference(fit.r2, (math.tanh(max(0.0, z - half)) ** 2, math.tanh(z + half) ** 2))


def moved(found: Difference, by: float) -> tuple[float, float] | None:
    """The interval shifted."""
    return None if found.interval is None else (found.interval[0] + by, found.interval[1] + by)
