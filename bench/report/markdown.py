"""Tables in GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.columns import Column, Shown, columns, heading, notes, reported_columns
from bench.report.reported import CAUTION, TITLE, listed_under
from bench.report.table import Table
from bench.reported import Reported

SPECIAL = re.compile(r"([\\`*|\[\]#<>&~])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return SPECIAL.sub(r"\\\1", text)


def markdown(tables: Sequence[Table]) -> str:
    """Every table under a heading, sections under headings of their own, then the notes.

    Numbers of the papers follow the notes of a suite's last table.
    """
    return "\n".join(_table(table) + _reported(listed_under(tables, i)) for i, table in enumerate(tables))


def _table(table: Table) -> str:
    parts = [f"## {escape(heading(table))}\n"]
    parts += [
        f"### {escape(section.title)}\n\n{grid(columns(table, section.lines), section.lines)}\n"
        for section in table.sections
    ]
    parts += [f"- {escape(note)}" for note in notes(table)]
    return "\n".join(parts) + "\n"


def _reported(numbers: Sequence[Reported]) -> str:
    rows = grid(reported_columns(numbers), numbers)
    return f"\n### {TITLE}\n\n{escape(CAUTION)}\n\n{rows}\n" if numbers else ""


def grid(shown: Sequence[Column[Shown]], lines: Sequence[Shown]) -> str:
    """Lines under the heads of columns."""
    rows = [
        [escape(column.title) for column in shown],
        ["---:" if column.right else ":---" for column in shown],
        *([escape(column.cell(line)) for column in shown] for line in lines),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
