"""Numbers of the papers beside a suite's rows: chosen, shown apart, never ranked and in no statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from bench.errors import unknown
from bench.report.text import printable
from bench.reported import Reported, reported_numbers

if TYPE_CHECKING:
    from bench.report.table import Line, Section, Table
    from bench.suite import Suite

STUDENTS = ("student", "published")  # kinds of rows: trained here, or loaded
FEW = 8  # evaluations that count as few, or the most that the suite asks for
TITLE = "reported by the papers, not measured here"
CAUTION = (
    "Budget, sampler and FID code differ between these papers and from the rows above: the numbers are not "
    "ranked and enter no statistic. Second-hand: read in another document that quotes the paper."
)
MARK = "*"
BESIDE = (
    "reported: what the method's own paper states at that number of evaluations, not measured here; "
    f"{MARK} second-hand, quoted in another document."
)


def numbers_for(suite: Suite) -> tuple[Reported, ...]:
    """Few-step numbers of the suite's data set, by evaluations and name; none if it names no data set.

    Raises:
        UsageError: a data set, conditioning or metric without numbers (nearest named).
    """
    on, kept = suite.reported, reported_numbers()
    if on is None:
        return ()
    for name in ("dataset", "conditioning", "metric"):
        known, value = {getattr(one, name) for one in kept}, getattr(on, name)
        if value not in known:
            raise unknown(
                f"{name} of reported numbers", value, known, f"suite {suite.name}: key 'reported.{name}'"
            )
        kept = tuple(one for one in kept if getattr(one, name) == value)
    few = [one for one in kept if one.nfe is not None and one.nfe <= max(FEW, *suite.nfe)]
    return tuple(sorted(few, key=lambda one: (one.nfe, one.method.casefold(), one.year, one.line)))


def summary_text(suite: Suite) -> str:
    """How many numbers stand beside a suite's rows, of how many methods and papers; "" if it names none."""
    on, numbers = suite.reported, numbers_for(suite)
    if on is None:
        return ""
    methods, papers = {one.method for one in numbers}, {one.paper for one in numbers}
    quoted = sum(one.second_hand for one in numbers)
    return (
        f"{len(numbers)} few-step numbers ({on.metric} on {on.dataset}, {on.conditioning}) "
        f"of {len(methods)} methods from {len(papers)} papers, {quoted} second-hand; never ranked"
    )


def with_reported(table: Table, numbers: tuple[Reported, ...]) -> Table:
    """The table with the numbers under it, and beside each student those of its method's own paper."""
    if not numbers:
        return table

    def line(one: Line) -> Line:
        return replace(one, reported=beside(one, numbers)) if one.kind in STUDENTS else one

    def section(one: Section) -> Section:
        return replace(one, lines=tuple(map(line, one.lines)))

    return replace(table, sections=tuple(map(section, table.sections)), reported=numbers)


def beside(line: Line, numbers: Sequence[Reported]) -> tuple[Reported, ...]:
    """What the paper of a line's method reports at its evaluations, without ablations."""
    return tuple(
        one
        for one in numbers
        if one.own and one.known == line.method and one.nfe == line.nfe and not one.ablation
    )


def cell_text(numbers: Sequence[Reported]) -> str:
    """``1.51, 1.28 (longer training) [yin2024dmd2, Table 1]; ...``: numbers by where they stand."""
    parts = []
    for (paper, table), group in groupby(numbers, key=lambda one: (one.paper, one.table)):
        values = ", ".join(f"{value_text(one)}{_of(one.variant)}" for one in group)
        parts.append(f"{values} [{paper}, {table}]")
    return printable("; ".join(parts))


def value_text(number: Reported) -> str:
    """The value with the digits of its source, and the mark of second-hand ones."""
    return number.text + (MARK if number.second_hand else "")


def _of(variant: str) -> str:
    return f" ({variant})" if variant not in ("", "default") else ""


def listed_under(tables: Sequence[Table], index: int) -> tuple[Reported, ...]:
    """The numbers to list under a table: once for each suite, under its last table."""
    table = tables[index]
    later = tables[index + 1 :]
    return (
        () if any(t.suite == table.suite and t.reported == table.reported for t in later) else table.reported
    )
