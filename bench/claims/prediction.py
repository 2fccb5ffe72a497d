"""Do the small suites order methods as the papers' large ones do? Kendall's tau-b between two rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.catalog import METHODS
from bench.claims.kendall import Agreement, agreement
from bench.claims.reported import RULE, Reported, reported
from bench.claims.rows import Board, Wanted
from bench.report.markdown import escape

SETS = (("cifar10", "class"), ("cifar10", "uncond"), ("imagenet64", "class"))
STEPS = {"one step": (1,), "2 to 4 steps": (2, 3, 4)}
FEWEST = 4  # methods that a rank agreement needs
INTRO = """\
Kendall's tau-b between the order of the methods on an embedded board (lowest mean of its primary metric,
headline rows) and their order by reported FID: 1 is the same order, -1 the reverse. p is exact: the share
of all orders that agree or disagree as much. The interval resamples methods (percentiles of 2,000 draws);
with so few of them it is rough and says mainly how little is known. The papers' networks, budgets and
teachers differ, so this asks whether a board predicts published rankings, not whether either is right."""


@dataclass(frozen=True)
class Comparison:
    """One board against one set of reported numbers: (ours, theirs) by method."""

    board: str
    dataset: str
    steps: str
    values: dict[str, tuple[float, Reported]]

    @property
    def agreement(self) -> Agreement | None:
        """None with fewer than ``FEWEST`` methods, or if one side is all ties."""
        if len(self.values) < FEWEST:
            return None
        pairs = [self.values[name] for name in sorted(self.values)]
        return agreement([ours for ours, _ in pairs], [theirs.value for _, theirs in pairs])


def measured_best(board: Board, method: str, steps: Sequence[int]) -> float | None:
    """Lowest mean of the primary metric over the step counts (highest where higher is better, negated)."""
    sign = 1 if board.better == "lower" else -1
    sides = [board.side(Wanted(method, n, VARIANT.get(method, {}))) for n in steps]
    return min((sign * side.estimate.mean for side in sides if side is not None), default=None)


VARIANT = {"moment_matching": {"variant": "alternating"}}  # the headline of a method with several


def comparisons(boards: Sequence[Board]) -> list[Comparison]:
    """Every board against every set, for one step and for few."""
    made = []
    for board in boards:
        for dataset, conditioning in SETS:
            for name, steps in STEPS.items():
                theirs = reported(dataset, conditioning, steps)
                ours = {m: measured_best(board, m, steps) for m in METHODS if m in theirs}
                values = {m: (value, theirs[m]) for m, value in ours.items() if value is not None}
                made.append(Comparison(board.suite.name, f"{dataset}, {conditioning}", name, values))
    return made


def section(boards: Sequence[Board]) -> str:
    """The last section of the document."""
    head = "| board | reported on | steps | n | tau-b | 95 % interval | p |"
    rows = [head, "| :--- | :--- | :--- | ---: | ---: | :--- | ---: |"]
    rows += [line(comparison) for comparison in comparisons(boards)]
    table = ["| data set | steps | reported FID |", "| :--- | :--- | :--- |"]
    for dataset, conditioning in SETS:
        for name, steps in STEPS.items():
            found = sorted(reported(dataset, conditioning, steps).values(), key=lambda r: (r.value, r.method))
            table.append(f"| {dataset}, {conditioning} | {name} | {', '.join(map(number, found))} |")
    title = "## Do the small suites predict the large ones?"
    body = "\n".join(rows) if boards else "No board has records yet."
    return "\n\n".join([title, INTRO, body, f"### Reported numbers\n\n{RULE}", "\n".join(table)]) + "\n"


def line(comparison: Comparison) -> str:
    """A row of the table."""
    found, n = comparison.agreement, len(comparison.values)
    cells = [comparison.board, comparison.dataset, comparison.steps, str(n)]
    if found is None:
        reason = "not enough methods" if n < FEWEST else "all ties"
        return f"| {' | '.join([*cells, reason, '', ''])} |"
    span = "" if found.interval is None else f"[{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
    return f"| {' | '.join([*cells, f'{found.tau:+.2f}', span, f'{found.p:.2f}'])} |"


def number(one: Reported) -> str:
    """``dmd2 1.28 at 1 [@key]``."""
    return f"{escape(one.method)} {one.value:g}{one.mark} ({one.nfe} NFE, [@{one.paper}])"
