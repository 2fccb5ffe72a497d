"""Break-even: after how many images a distillation has paid for itself.

A student of ``n`` evaluations that spent ``W`` units of training saves ``m - n`` evaluations per image
against the cheapest row of the teacher or a plain solver, of ``m`` evaluations, whose mean is at least as
good. One evaluation is taken for one unit, so the work is earned back after ``W / (m - n)`` images. A student
better than all these rows is set against the best of them. Where ``m <= n`` it never pays. Training the
teacher costs nothing here: both sides need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.columns import scope
from bench.report.table import Line
from bench.report.text import compact
from bench.report.views import METHOD, NFE, ROW, Head, Shown, View, lines_of, yardsticks

NEVER = "never"


@dataclass(frozen=True)
class BreakEven:
    """Images after which a student has paid for its training.

    Attributes:
        images: None if it never pays: a row of no more evaluations is as good.
        rival, evaluations: the row it is set against.
        beyond: the student is better than every such row.
    """

    images: float | None
    rival: str
    evaluations: int
    beyond: bool


def break_even(line: Line, rivals: Sequence[Line], primary: str, better: str) -> BreakEven | None:
    """Break-even of a row; None without a finished training or a row to compare with."""
    if line.kind != "student" or line.status != "ok" or line.work is None or line.nfe is None:
        return None
    sign = 1 if better == "lower" else -1

    def loss(one: Line) -> float:
        return sign * one.metrics[primary].mean

    def cost(one: Line) -> tuple[int, float]:
        return one.nfe or 0, loss(one)

    if not rivals or primary not in line.metrics:
        return None
    equal = [rival for rival in rivals if loss(rival) <= loss(line)]
    rival = min(equal, key=cost) if equal else min(rivals, key=lambda one: (loss(one), *cost(one)))
    saved = (rival.nfe or 0) - line.nfe
    return BreakEven(line.work / saved if saved > 0 else None, rival.label, rival.nfe or 0, not equal)


def break_even_text(found: BreakEven | None) -> str:
    """``1.5 M``, ``never``, or nothing."""
    return "" if found is None else NEVER if found.images is None else compact(found.images)


def break_evens(shown: Shown) -> list[View]:
    """One view a table: students by the number of images, those that never pay last."""
    better = shown.suite.column(shown.suite.primary).better
    views = []
    for table in shown.tables:
        rivals = yardsticks(table, shown.suite)
        pairs = [
            (line, found)
            for line in lines_of(table)
            if shown.shows(line) and (found := break_even(line, rivals, table.primary, better))
        ]
        pairs.sort(key=lambda pair: (pair[1].images is None, pair[1].images or 0.0, pair[0].label))
        rows = [
            (
                line.label,
                line.nfe,
                line.work,
                f"{found.rival}@{found.evaluations}",
                "yes" if found.beyond else None,
                NEVER if found.images is None else found.images,
                line.id,
            )
            for line, found in pairs
        ]
        title = f"Break-even: {scope(table)}, budget {table.budget}, protocol {table.protocol}"
        views.append(View(title, HEADS, tuple(rows), NOTES))
    return [view for view in views if view.rows]


def _count(value: object) -> str:
    return compact(value) if isinstance(value, int | float) else str(value)


HEADS = (
    METHOD,
    NFE,
    Head("work", "work", _count),
    Head("rival", "set against", right=False),
    Head("beyond", "better than all", right=False),
    Head("images", "images", _count),
    ROW,
)
NOTES = (
    "images: work of training / evaluations saved per image, an evaluation taken for one unit of work.",
    "set against: the cheapest row of the teacher or a plain solver whose mean is at least as good; "
    "for a student better than all of them, the best.",
    "never: a row of no more evaluations is as good. The teacher's own training is not counted.",
)
