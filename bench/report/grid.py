"""Columns of text side by side, for terminals: quick for thousands of rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "bold cyan": "1;36"}
GAP = 2


def styled(text: str, style: str, *, colour: bool) -> str:
    """Text with a style of ``CODES``; as it is without colour."""
    return f"\x1b[{CODES[style]}m{text}\x1b[0m" if colour and style and text else text


def grid_lines(
    titles: Sequence[str],
    right: Sequence[bool],
    rows: Sequence[tuple[Sequence[str], str]],
    *,
    colour: bool,
    width: int | None = None,
    styles: dict[str, str] | None = None,
) -> list[str]:
    """Lines of a table without rules.

    Args:
        rows: cells and the style of the row, "" for none.
        width: the widest column is cut to fit it; None: as wide as it takes.
        styles: of a cell by its first character.
    """
    lengths = [[cell_len(cell) for cell in cells] for cells, _ in rows]
    widths = [
        max([cell_len(title), *column])
        for title, column in zip(titles, _columns(lengths, titles), strict=True)
    ]
    over = sum(widths) + GAP * (len(widths) - 1) - (width or 0)
    if width is not None and over > 0:
        widest = max(range(len(widths)), key=lambda k: widths[k])
        widths[widest] = max(1, widths[widest] - over)
    lines = []
    for cells, style in [(titles, "bold"), *rows]:
        parts = []
        for cell, wide, flush in zip(cells, widths, right, strict=True):
            text = cell if cell_len(cell) <= wide else f"{set_cell_size(cell, wide - 1)}…"
            space = " " * (wide - cell_len(text))
            own = style or (styles or {}).get(text[:1], "")
            parts.append(
                f"{space if flush else ''}{styled(text, own, colour=colour)}{'' if flush else space}"
            )
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _columns(lengths: Sequence[Sequence[int]], titles: Sequence[str]) -> list[list[int]]:
    return [list(column) for column in zip(*lengths, strict=True)] if lengths else [[] for _ in titles]
