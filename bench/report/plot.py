"""Small line plots made of characters. Imports no numerics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.report.text import compact, printable

Points = Sequence[tuple[float, float]]
MARKS = "●▲■◆○△□◇"
ASCII_MARKS = "ox+*#@%&"
COLOURS = (34, 33, 32, 35, 36, 31, 90, 39)  # of the terminal, in the order of the marks


@dataclass(frozen=True)
class Style:
    """How plots are drawn.

    Attributes:
        width, height: of the drawing without labels, characters.
        colour: a colour for each line; unicode: marks beyond ASCII.
    """

    width: int = 60
    height: int = 12
    colour: bool = False
    unicode: bool = True

    @property
    def marks(self) -> str:
        """One for each line."""
        return MARKS if self.unicode else ASCII_MARKS


@dataclass(frozen=True)
class Axis:
    """A range of values on so many characters, logarithmic where all are positive and spread."""

    low: float
    high: float
    size: int
    log: bool

    @staticmethod
    def over(values: Sequence[float], size: int, *, log: bool) -> Axis:
        """An axis that holds all values; ``log`` if they allow it."""
        log = log and min(values) > 0 and max(values) > 3 * min(values)
        return Axis(min(values), max(values), size, log)

    def at(self, value: float) -> float:
        """Place of a value, in characters from the low end."""
        law = math.log if self.log else float
        low, high = law(self.low), law(self.high)
        return 0.0 if high == low else (law(value) - low) / (high - low) * (self.size - 1)


def plot(
    title: str, across: str, lines: Mapping[str, Points], style: Style, *, log: bool = True
) -> list[str]:
    """Lines of text that show curves: title, drawing, axis, legend. Values that are not finite are left out.

    Args:
        across: what the horizontal axis shows; lines: points (x, y) by name, at most eight are drawn.
        log: logarithmic axes where values allow them.
    """
    shown = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    shown = {name: points for name, points in list(shown.items())[: len(style.marks)] if points}
    if not shown:
        return []
    every = [point for points in shown.values() for point in points]
    x = Axis.over([p[0] for p in every if p[0] > 0 or not log] or [0.0], style.width, log=log)
    y = Axis.over([p[1] for p in every], style.height, log=log)
    grid = [[" "] * style.width for _ in range(style.height)]
    for number, points in enumerate(shown.values()):
        _draw(grid, [p for p in points if p[0] >= x.low], x, y, _painted(style, number))
    ends = {0: f"{y.high:.4g}", style.height - 1: f"{y.low:.4g}"}
    margin = max(map(len, ends.values()))
    rows = [f"{ends.get(i, '').rjust(margin)} {'│' if style.unicode else '|'}" for i in range(style.height)]
    drawn = [left + "".join(cells).rstrip() for left, cells in zip(rows, grid, strict=True)]
    first, last = compact(x.low), compact(x.high)
    below = f"{' ' * (margin + 2)}{first}{across.center(style.width - len(first) - len(last))}{last}"
    legend = [f"{_painted(style, i)} {printable(name)}" for i, name in enumerate(shown) if name]
    scale = " (log)" if y.log else ""
    left_out = len(lines) - len(shown)
    more = [f"  and {left_out} more, not drawn"] if left_out else []
    key = ["  " + "   ".join(legend)] if legend else []
    return [printable(title) + scale, *drawn, below, *key, *more]


def _painted(style: Style, number: int) -> str:
    mark = style.marks[number]
    return f"\x1b[{COLOURS[number]}m{mark}\x1b[0m" if style.colour else mark


def _draw(grid: list[list[str]], points: Points, x: Axis, y: Axis, mark: str) -> None:
    """Put a mark at each point and dots between neighbours; what stands there already stays."""
    places = [(x.at(a), y.at(b)) for a, b in sorted(points)]
    for column, height in places:
        grid[len(grid) - 1 - round(height)][round(column)] = mark
    for (left, low), (right, high) in pairwise(places):
        for column in range(round(left) + 1, round(right)):
            height = low + (high - low) * (column - left) / (right - left)
            row = grid[len(grid) - 1 - round(height)]
            row[column] = "." if row[column] == " " else row[column]
