"""Performance profile over suites, after Dolan and More, with fixed anchors.

A problem is a suite and a number of evaluations n that the suite asks for. A method solves it with its best
row of at most n evaluations; the ratio of that row's primary metric to the best row of the suite's teacher
says how well. The profile of a method at t is the share of problems on which its ratio is at most t. Dolan
and More take the best entry as the yardstick, so that every submission moves all profiles; here it is the
teacher, and none does.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.curves import line_name
from bench.report.flat import Value
from bench.report.table import Line, Table
from bench.report.views import Head, Shown, View, lines_of, yardsticks

STEPS = (1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)  # ratios at which the profile is printed
WIDEST = 10.0  # ratio at which the area ends


@dataclass(frozen=True)
class Profile:
    """A method over problems: its ratios to the teacher; infinity where it has no row."""

    method: str
    ratios: tuple[float, ...]

    def share(self, ratio: float) -> float:
        """Share of problems solved within a ratio."""
        return sum(one <= ratio for one in self.ratios) / len(self.ratios)

    @property
    def area(self) -> float:
        """Area under the profile over log ratio from 1 to ``WIDEST``, as a share of the whole."""
        logs = [min(max(math.log(one) / math.log(WIDEST), 0.0), 1.0) for one in self.ratios]
        return 1 - sum(logs) / len(logs)


def profiles(boards: Sequence[Shown], budget: str) -> list[Profile]:
    """Profiles of all methods at a budget, the largest area first; none for fewer than two suites."""
    problems: list[dict[str, float]] = []
    suites = set()
    for shown in boards:
        for table in shown.tables:
            anchor = _anchor(table, shown)
            if table.budget == budget and table.version == _version(shown) and anchor:
                suites.add(table.suite)
                problems += [_ratios(table, shown, count, anchor) for count in shown.suite.nfe]
    if len(suites) < 2:
        return []
    names = sorted({name for problem in problems for name in problem})
    found = [Profile(name, tuple(problem.get(name, math.inf) for problem in problems)) for name in names]
    return sorted(found, key=lambda profile: (-profile.area, profile.method))


def _version(shown: Shown) -> str:
    return ".".join(shown.suite.version.split(".")[:2])


def _anchor(table: Table, shown: Shown) -> float | None:
    """The best row of the teacher: None where it was not measured or is no yardstick for a ratio."""
    rows = [line for line in yardsticks(table, shown.suite) if line.kind == "teacher"]
    values = [line.metrics[table.primary].mean for line in rows]
    best = (min if _lower(shown) else max)(values, default=0.0)
    return best if best > 0 else None


def _lower(shown: Shown) -> bool:
    return shown.suite.column(shown.suite.primary).better == "lower"


def _ratios(table: Table, shown: Shown, count: int, anchor: float) -> dict[str, float]:
    """Ratio of every method's best row of at most ``count`` evaluations."""
    best: dict[str, float] = defaultdict(lambda: math.inf)
    for line in lines_of(table):
        if _competes(line, table) and line.nfe is not None and line.nfe <= count:
            value = line.metrics[table.primary].mean
            ratio = value / anchor if _lower(shown) else anchor / value if value > 0 else math.inf
            label, mark, cells = line.label.partition(" #")
            name = f"{line_name(label)}{mark}{cells}"
            best[name] = min(best[name], ratio)
    return dict(best)


def _competes(line: Line, table: Table) -> bool:
    return line.kind == "student" and line.status == "ok" and table.primary in line.metrics


def profile_views(boards: Sequence[Shown]) -> list[View]:
    """One view a budget that two suites share."""
    views = []
    for budget in dict.fromkeys(table.budget for shown in boards for table in shown.tables):
        rows: list[tuple[Value, ...]] = [
            (profile.method, len(profile.ratios), profile.area, *(profile.share(t) for t in STEPS))
            for profile in profiles(boards, budget)
        ]
        views.append(View(f"Performance profile, budget {budget}", HEADS, tuple(rows), NOTES))
    return [view for view in views if view.rows]


HEADS = (
    Head("method", "method", right=False),
    Head("problems", "problems"),
    Head("area", "area", lambda value: f"{value:.3f}"),
    *(Head(f"within_{step:g}", f"within {step:g}x", lambda value: f"{value:.0%}") for step in STEPS),
)
NOTES = (
    "A problem is a suite and a number of evaluations; a method solves it with its best row of no more.",
    "within t: share of problems with a primary metric of at most t times that of the teacher's best row.",
    f"area: under the profile over log t from 1 to {WIDEST:g}; 1 is the teacher on every problem, "
    "a problem without a row counts 0.",
)
