"""Tables in GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.columns import columns, heading, notes
from bench.report.table import Section, Table

SPECIAL = re.compile(r"([\\`*|\[\]#<>&~])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return SPECIAL.sub(r"\\\1", text)


def markdown(tables: Sequence[Table]) -> str:
    """Every table under a heading, sections under headings of their own, then the notes."""
    return "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    parts = [f"## {escape(heading(table))}\n"]
    parts += [_section(table, section) for section in table.sections]
    parts += [f"- {escape(note)}" for note in notes(table)]
    return "\n".join(parts) + "\n"


def _section(table: Table, section: Section) -> str:
    shown = columns(table, section.lines)
    rows = [
        [escape(column.title) for column in shown],
        ["---:" if column.right else ":---" for column in shown],
        *([escape(column.cell(line)) for column in shown] for line in section.lines),
    ]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"### {escape(section.title)}\n\n{body}\n"
