"""Rows of older versions of a suite: shown in tables of their own, and said what stands for them now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.report.rowid import name_of
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.report.table import Table


def number_of(version: str) -> tuple[int, ...]:
    """A version as numbers: 1.10 comes after 1.9."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def with_superseded(tables: Sequence[Table], suite: Suite) -> list[Table]:
    """Tables of the present version, then older ones, the latest first, which say what follows them.

    A row of an older version is followed by the row of its name, if it was made again, else by the suite.
    """
    now = number_of(suite.version)[:2]
    old = [table for table in tables if number_of(table.version) < now]
    present = [table for table in tables if number_of(table.version) >= now]
    names = {name_of(line.id) for t in present for section in t.sections for line in section.lines}
    old.sort(key=lambda table: number_of(table.version), reverse=True)
    return [*present, *(_marked(table, suite, names) for table in old)]


def _marked(table: Table, suite: Suite, names: set[str]) -> Table:
    def successor(identifier: str) -> str:
        _, _, rest = name_of(identifier).partition("/")
        name = f"{suite.id}/{rest}"
        return name if name in names else suite.id

    sections = tuple(
        replace(s, lines=tuple(replace(line, superseded=successor(line.id)) for line in s.lines))
        for s in table.sections
    )
    return replace(table, sections=sections, superseded=suite.id)
