"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bench.report.columns import Column, Shown, columns, heading, notes, reported_columns
from bench.report.grid import grid_lines
from bench.report.reported import CAUTION, TITLE, listed_under
from bench.report.table import Table
from bench.reported import Reported

STYLES = {"▲": "green", "▼": "red"}


def terminal(tables: Sequence[Table], width: int | None = None, *, colour: bool = False) -> str:
    """Tables as text.

    Args:
        width: of the terminal; columns that do not fit are left out, and named. None: as wide as it takes.
    """
    stream = StringIO()
    console = Console(
        file=stream,
        width=width or 10_000,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for i, table in enumerate(tables):
        if i:
            console.print()
        _print(console, table, width)
        _print_reported(console, listed_under(tables, i), width)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _print(console: Console, table: Table, width: int | None) -> None:
    lines = [line for section in table.sections for line in section.lines]
    shown = columns(table, lines)
    headings = [section.title for section in table.sections]
    kept = _fitting(shown, lines, headings, width)
    rows: list[tuple[list[str], str]] = []
    for section in table.sections:
        rows.append(([section.title if c.title == "method" else "" for c in kept], "bold cyan"))
        rows += [([column.cell(line) for column in kept], "") for line in section.lines]
    console.print(Text(heading(table), "bold"))
    if lines:
        _print_grid(console, kept, rows, width)
    for note in notes(table):
        console.print(Text(note, "dim"))
    _say_hidden(console, shown, kept)


def _print_reported(console: Console, numbers: Sequence[Reported], width: int | None) -> None:
    if not numbers:
        return
    shown = reported_columns(numbers)
    kept = _fitting(shown, numbers, [], width)
    console.print()
    console.print(Text(TITLE, "bold cyan"))
    _print_grid(console, kept, [([column.cell(one) for column in kept], "") for one in numbers], width)
    console.print(Text(CAUTION, "dim"))
    _say_hidden(console, shown, kept)


def _print_grid(
    console: Console, kept: Sequence[Column[Shown]], rows: list[tuple[list[str], str]], width: int | None
) -> None:
    titles, right = [column.title for column in kept], [column.right for column in kept]
    colour = console.color_system is not None
    made = grid_lines(titles, right, rows, colour=colour, width=width, styles=STYLES)
    console.file.write("\n".join(made) + "\n")


def _say_hidden(console: Console, shown: Sequence[Column[Shown]], kept: Sequence[Column[Shown]]) -> None:
    hidden = [column.title for column in shown if column not in kept]
    if hidden:
        console.print(
            Text(f"Hidden for want of width: {', '.join(hidden)}; see them with --format md.", "dim")
        )


def _fitting(
    shown: Sequence[Column[Shown]], lines: Sequence[Shown], headings: Sequence[str], width: int | None
) -> list[Column[Shown]]:
    """The columns that fit side by side, sparing the least needed."""
    kept = list(shown)

    def taken(column: Column[Shown]) -> int:
        texts: list[str] = [column.title, *(column.cell(line) for line in lines)]
        return 2 + max(map(cell_len, [*texts, *headings] if column.title == "method" else texts))

    while width is not None and sum(map(taken, kept)) > width and any(c.spare for c in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    return kept
