"""Views of a leaderboard beside the board itself: small tables of named values, each with its notes.

A view chooses and computes; it moves no number of the board. What rows are set against in it (rows of the
teacher, plain solvers that the suite names) is fixed, so that no submitted row moves a number of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.record import Record
from bench.report.flat import Value
from bench.report.table import Line, Table
from bench.suite import Suite


@dataclass(frozen=True)
class Shown:
    """What is shown of one suite.

    Attributes:
        tables: all of them; ids: of the lines to show, None for all.
    """

    suite: Suite
    records: Sequence[Record]
    tables: Sequence[Table]
    ids: frozenset[str] | None = None
    cells: dict[str, Record] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", {record.cell: record for record in self.records})

    def shows(self, line: Line) -> bool:
        """Whether a line passed the filters."""
        return self.ids is None or line.id in self.ids

    def records_of(self, line: Line) -> list[Record]:
        """The records behind a line, by training seed; none of a line that was not measured here."""
        found = [self.cells[cell] for cell in line.cells if cell in self.cells]
        return sorted(found, key=lambda record: record.seed)


@dataclass(frozen=True)
class Head:
    """A column of a view: its key in files, its title for readers, how a value is written."""

    key: str
    title: str
    text: Callable[[Value], str] = str
    right: bool = True


@dataclass(frozen=True)
class View:
    """One table of a view; a value that is not known is None and shown as nothing."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...]

    def texts(self) -> list[list[str]]:
        """The rows as readers see them."""
        return [
            ["" if value is None else head.text(value) for head, value in zip(self.heads, row, strict=True)]
            for row in self.rows
        ]


def lines_of(table: Table) -> Iterator[Line]:
    """All lines of a table."""
    return (line for section in table.sections for line in section.lines)


def yardsticks(table: Table, suite: Suite) -> list[Line]:
    """Finished rows of the suite's teacher and of the plain solvers that the suite names."""
    solvers = {rows.label for rows in suite.solver_rows}
    teacher = f"teacher[{suite.teacher_rows.solver}]"
    return [
        line
        for line in lines_of(table)
        if line.status == "ok" and line.nfe and suite.primary in line.metrics
        if (line.kind == "solver" and line.method in solvers)
        or (line.kind == "teacher" and line.label.startswith(teacher))
    ]


def decimals(digits: int) -> Callable[[Value], str]:
    """Writes a number with so many decimals."""
    return lambda value: f"{value:.{digits}f}"


METHOD = Head("method", "method", right=False)
NFE = Head("nfe", "NFE")
ROW = Head("id", "row", right=False)
