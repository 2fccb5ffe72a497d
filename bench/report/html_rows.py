"""Tables as the page shows them: columns in groups that can be hidden, whiskers, tie groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.report.anytime import SHARES, anytime_texts
from bench.report.breakeven import break_even, break_even_text
from bench.report.columns import ARROWS, Column, columns, heading, notes, reported_columns
from bench.report.levels import level_of
from bench.report.reported import CAUTION, listed_under
from bench.report.statistics import Estimate
from bench.report.table import Line, Table
from bench.report.text import printable
from bench.report.views import Shown, lines_of, yardsticks

CORE, METRICS, ANYTIME, COST, SETUP = "core", "metrics", "anytime", "cost", "setup"
GROUPS = {
    **dict.fromkeys(("NFE", "excess", "vs solver", "seeds", "superseded by"), CORE),
    **dict.fromkeys(("work", "latency", "memory", "samples/s"), COST),
}  # of columns that are no metric; the rest is set-up
STRIP = 96  # pixels of a whisker
BARS = 8  # tie groups of a section that are drawn as bars
ADDED = (
    "break-even: images after which the training is paid for, by the evaluations saved against the cheapest "
    "row of the teacher or a plain solver that is as good.",
    "1/4, 1/2, full: the primary metric at these shares of the work, by the smaller curve protocol.",
    "verified: self-reported, re-scored by others from the samples, or re-trained by others.",
)


@dataclass(frozen=True)
class Head:
    """A column of the page: its group, and whether it is set flush left."""

    title: str
    group: str
    left: bool = False


@dataclass(frozen=True)
class Cells:
    """A row of the page.

    Attributes:
        ties: letters of its tie groups, with the place of each among the bars.
        texts: of the cells after rank and method.
        whisker: low, mean and high of the primary metric, in pixels.
        look: how the whisker is drawn: the verdict against the best plain solver, "out" beyond its scale.
    """

    id: str
    rank: int | None
    ties: tuple[tuple[int, str], ...]
    label: str
    texts: tuple[str, ...]
    whisker: tuple[int, int, int] | None
    look: str


@dataclass(frozen=True)
class Group:
    """Rows under one heading; references stay whatever is filtered."""

    title: str
    rows: tuple[Cells, ...]
    references: bool


@dataclass(frozen=True)
class Papers:
    """Numbers of the papers below a suite's last table."""

    caution: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Grid:
    """One table of the page; ``primary`` is the place of the primary metric among the heads, -1 for none."""

    table: Table
    title: str
    heads: tuple[Head, ...]
    primary: int
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    papers: Papers | None

    @property
    def lines(self) -> list[Line]:
        """All lines, in the order of the rows."""
        return list(lines_of(self.table))

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.lines)

    @property
    def counts(self) -> set[int]:
        """Evaluations of ranked kinds of rows, which the page can filter by."""
        return {line.nfe for line in self.lines if line.nfe and line.kind in ("student", "published")}

    @property
    def statuses(self) -> set[str]:
        """Statuses of rows."""
        return {line.status for line in self.lines}


def grid_of(table: Table, shown: Shown, levels: dict[str, str]) -> Grid:
    """A table as the page shows it."""
    kept = _columns(table, shown, levels)
    primary = _metric_title(table, table.primary)
    scale = Scale.of(table)
    heads = tuple(Head(column.title, group, not column.right) for group, column in kept)
    groups = tuple(
        Group(
            section.title,
            tuple(_cells(line, kept, table.primary, scale) for line in section.lines),
            all(line.kind in ("anchor", "solver", "teacher") for line in section.lines),
        )
        for section in table.sections
    )
    place = next((i for i, head in enumerate(heads) if head.title == primary), -1)
    return Grid(table, heading(table), heads, place, groups, (*notes(table), *ADDED), _papers(table, shown))


def _columns(table: Table, shown: Shown, levels: dict[str, str]) -> list[tuple[str, Column[Line]]]:
    """Columns after rank and method with their groups: the board's, and those of the views."""
    lines = list(lines_of(table))
    metrics = {_metric_title(table, column.key): column.key for column in table.columns}
    found = [
        (_group_of(column.title, metrics, table.primary), column)
        for column in columns(table, lines)
        if column.title not in ("#", "method", "status")
    ]
    rivals = yardsticks(table, shown.suite)
    better = shown.suite.column(shown.suite.primary).better
    shares = {line.id: anytime_texts(line, shown) for line in lines}
    verified = {line.id: level_of(shown.records_of(line), levels) for line in lines}
    added = [
        (
            COST,
            Column(
                "break-even", lambda line: break_even_text(break_even(line, rivals, table.primary, better))
            ),
        ),
        *(
            (ANYTIME, Column(name, lambda line, k=k: shares[line.id][k]))  # type: ignore[misc]
            for k, name in enumerate(SHARES.values())
        ),
        (CORE, Column("verified", lambda line: verified[line.id], right=False)),
        (CORE, Column("status", lambda line: "" if line.status == "ok" else line.status, right=False)),
    ]
    found += [(group, column) for group, column in added if any(map(column.cell, lines))]
    order = [CORE, METRICS, ANYTIME, COST, SETUP]
    last = ("seeds", "verified", "status")
    return sorted(found, key=lambda pair: (pair[1].title in last, order.index(pair[0])))


def _metric_title(table: Table, key: str) -> str:
    column = next((column for column in table.columns if column.key == key), None)
    return printable(column.title) + ARROWS[column.better] if column else ""


def _group_of(title: str, metrics: dict[str, str], primary: str) -> str:
    if title in metrics:
        return CORE if metrics[title] == primary else METRICS
    return GROUPS.get(title, SETUP)


def _cells(line: Line, kept: list[tuple[str, Column[Line]]], primary: str, scale: Scale) -> Cells:
    value = line.metrics.get(primary)
    return Cells(
        id=line.id,
        rank=line.rank,
        ties=tuple((_place(letter), letter) for letter in _letters(line.ties)),
        label=printable(line.label),
        texts=tuple(column.cell(line) for _, column in kept),
        whisker=scale.whisker(value) if value else None,
        look=_look(line, value is not None and scale.beyond(value)),
    )


def _look(line: Line, beyond: bool) -> str:
    words = [line.against.verdict if line.against else "", "out" if beyond else ""]
    return " ".join(filter(None, words))


def _letters(ties: str) -> list[str]:
    """Letters one by one as long as there are bars for them; the rest, or a range, as one name."""
    if not ties.isalpha():
        return [ties] if ties else []
    drawn = [letter for letter in ties if _place(letter) < BARS]
    return [*drawn, *filter(None, [ties[len(drawn) :]])]


def _place(letter: str) -> int:
    return min(ord(letter[0]) - ord("a"), BARS) if letter.isalpha() else BARS


def _papers(table: Table, shown: Shown) -> Papers | None:
    numbers = listed_under(shown.tables, shown.tables.index(table))
    if not numbers:
        return None
    kept = reported_columns(numbers)
    heads = tuple(Head(column.title, SETUP, not column.right) for column in kept)
    return Papers(CAUTION, heads, tuple(tuple(column.cell(one) for column in kept) for one in numbers))


@dataclass(frozen=True)
class Scale:
    """From values of the primary metric to pixels: logarithmic where all means are positive."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, table: Table) -> Scale:
        """The scale that holds the means of students, or of all rows if there are none, and a tenth more."""
        lines = [line for line in lines_of(table) if table.primary in line.metrics]
        competing = [line for line in lines if line.kind in ("student", "published")]
        means = [line.metrics[table.primary].mean for line in competing or lines]
        log = bool(means) and min(means) > 0
        ends = [math.log(mean) if log else mean for mean in (min(means), max(means))] if means else [0.0, 1.0]
        margin = 0.1 * (ends[1] - ends[0]) or 1.0
        return cls(ends[0] - margin, ends[1] + margin, log)

    def whisker(self, value: Estimate) -> tuple[int, int, int]:
        """Low end, mean and high end of an interval in pixels."""
        low, high = value.interval or (value.mean, value.mean)
        return self._pixel(low), self._pixel(value.mean), self._pixel(high)

    def beyond(self, value: Estimate) -> bool:
        """Whether a mean lies outside, so that its mark stands at an end."""
        if self.log and value.mean <= 0:
            return True
        return not self.low <= (math.log(value.mean) if self.log else value.mean) <= self.high

    def _pixel(self, value: float) -> int:
        if self.log and value <= 0:
            return 0
        share = ((math.log(value) if self.log else value) - self.low) / (self.high - self.low)
        return round(STRIP * min(max(share, 0.0), 1.0))
