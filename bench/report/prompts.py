"""The grid of a text-to-image board: one caption a row, what each generator made of it beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from numpy.typing import NDArray

from bench.report.pictures import FAINT, INK, mosaic, new_figure, save
from bench.report.text import printable

ROWS = 8  # captions
TEXT = 2.2  # width of the captions, in inches
WRAPPED = 34  # characters of a line of a caption
HEAD = 18  # characters of a line above a column


def prompt_grid_png(tiles: Mapping[str, NDArray[Any]], captions: Sequence[str], path: Path) -> Path:
    """Draw what generators made of the same captions. Returns the path.

    Args:
        tiles: by name, images uint8 ``[n, C, H, W]``, image i of caption i.
        captions: at least one; the first ``ROWS`` are shown.

    Raises:
        ValueError: nothing to show, or fewer images than captions shown.
    """
    shown = captions[:ROWS]
    if not tiles or not shown:
        raise ValueError("no captions or no samples to show")
    for name, images in tiles.items():
        if len(images) < len(shown):
            raise ValueError(f"samples of {name!r}: {len(images)} for {len(shown)} captions")
    side = min(0.9, 7.8 / len(tiles))
    figure = new_figure(TEXT + side * len(tiles) + 0.1, (side + 0.05) * len(shown) + 0.6)
    axes = figure.subplots(
        len(shown), 1 + len(tiles), squeeze=False, width_ratios=[TEXT, *[side] * len(tiles)]
    )
    for row, caption in enumerate(shown):
        words = fill(printable(caption), WRAPPED)
        axes[row, 0].text(1, 0.5, words, ha="right", va="center", fontsize=8, color=INK)
        axes[row, 0].set_axis_off()
        for axis, (name, images) in zip(axes[row, 1:], tiles.items(), strict=True):
            axis.imshow(mosaic(images[row : row + 1]), interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(head(printable(name)), fontsize=5, color=FAINT)
    return save(figure, path)


def head(name: str) -> str:
    """A name above its column: the method, its options and the evaluations, each on lines of its own."""
    parts = name.replace("[", "\n[").replace(", NFE", "\nNFE").replace(",", ", ").splitlines()
    return "\n".join(fill(part, HEAD, break_long_words=False).replace(", ", ",") for part in parts)
