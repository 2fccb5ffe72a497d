"""Rows by id: what a paper cites, found again in the tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError, unknown
from bench.report.collect import collect, record_files
from bench.report.rowid import name_of
from bench.report.table import Line, Section, Table, tables
from bench.report.views import Shown
from bench.suite import load_suite

PLAIN = ("excess", "nfe", "work", "latency", "rank", "seeds")  # keys of a row beside its metrics


@dataclass(frozen=True)
class Found:
    """A row in its table; ``section`` is where it is ranked, None where it is not."""

    line: Line
    table: Table
    section: Section | None
    shown: Shown

    @property
    def keys(self) -> list[str]:
        """Keys that have a value."""
        return [*self.line.metrics, *(key for key in PLAIN if getattr(self.line, key) is not None)]

    def value(self, key: str) -> float | None:
        """A number of the row; None for an unknown key or a missing value."""
        if key in self.line.metrics:
            return self.line.metrics[key].mean
        found = getattr(self.line, key) if key in PLAIN else None
        return None if found is None else float(found)

    def better(self, key: str) -> str:
        """Which way a metric is better; "none" for what is not ranked by."""
        return next((column.better for column in self.table.columns if column.key == key), "none")


class Rows:
    """All rows of the boards."""

    def __init__(self, boards: Iterable[Shown]) -> None:
        self._rows: dict[str, list[Found]] = {}
        for shown in boards:
            for table in shown.tables:
                for section in table.sections:
                    for line in section.lines:
                        ranked = section if line.rank is not None else None
                        self._add(Found(line, table, ranked, shown))

    @classmethod
    def read(cls, root: Path) -> Rows:
        """The rows of a folder of records; raises as ``record_files`` and ``collect`` do."""
        boards = []
        for name, files in record_files(root).items():
            suite = load_suite(name)
            records = collect(files, suite)
            boards.append(Shown(suite, records, tables(records, suite)))
        return cls(boards)

    def _add(self, found: Found) -> None:
        known = self._rows.setdefault(name_of(found.line.id), [])
        if all(one.line.id != found.line.id for one in known):  # references stand in several tables
            known.append(found)

    def find(self, identifier: str) -> Found:
        """A row by id, with or without its digest.

        Raises:
            UsageError: no such row, other records behind it, or several rows of that name.
        """
        name = name_of(identifier)
        rows = self._rows.get(name)
        if rows is None:
            raise unknown("row", identifier, self._rows)
        if identifier != name:
            for row in rows:
                if row.line.id == identifier:
                    return row
            now = " or ".join(row.line.id for row in rows)
            raise UsageError(f"row {identifier!r}: the records behind it are others now: {now}")
        if len(rows) > 1:
            ids = ", ".join(row.line.id for row in rows)
            raise UsageError(f"row {identifier!r} is of several rows; add the digest: {ids}")
        return rows[0]
