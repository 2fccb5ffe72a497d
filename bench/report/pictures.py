"""Pictures: training curves and grids of samples. Imports matplotlib and numpy, so import this lazily."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from bench.record import Record
from bench.report.curves import Curve, Excess
from bench.report.text import printable
from bench.suite import Suite

# Okabe and Ito's palette without yellow, too light on white; markers and dashes say again what colours say
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")
INK, FAINT, WASH = "#222222", "#707070", "#E9EEF2"
DPI = 110
TILE_COLUMNS = 8
COLUMNS = {1: 1, 2: 2, 4: 2}  # of panels, by their number; else three

Modes = tuple[NDArray[Any], float]  # means [K, 2] and standard deviation


def curve_png(records: Sequence[Record], suite: Suite, path: Path) -> Path:
    """Draw the primary metric's excess over the floor by training work, log-log; one panel a step count.

    One line per method and budget, the mean over its seeds; the teacher's best row is a dashed line, the band
    at the bottom is what cannot be told from real data. Returns the path.

    Raises:
        ValueError: no record has a curve of this suite's version.
    """
    excess = Excess.of(records, suite)
    curves = excess.curves()
    if not curves:
        raise ValueError(f"no record of {suite.id} has a curve")
    panels = sorted({steps for _, steps in curves})
    names = sorted({name for name, _ in curves})
    wide = COLUMNS.get(len(panels), 3)
    tall = math.ceil(len(panels) / wide)
    figure = new_figure(8.2, 1.2 + (2.4 if wide == 3 else 2.7) * tall)
    axes = figure.subplots(tall, wide, sharex=True, sharey=True, squeeze=False)
    for axis, steps in zip(axes.flat, panels, strict=False):
        _curve_panel(axis, steps, names, curves, excess)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, len(panels) - wide) : len(panels)]:  # the lowest panel of each column
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("training work, units", fontsize=9, color=INK)
    column = suite.column(suite.primary)
    beyond = " beyond real data" if excess.floor is not None else ""
    _caption(figure, axes[0, 0], f"{suite.title}: {column.title}{beyond}, against training work")
    return save(figure, path)


def _curve_panel(
    axis: Any, steps: int, names: Sequence[str], curves: Mapping[tuple[str, int], Curve], excess: Excess
) -> None:
    _style(axis, f"{steps} step{'s' if steps != 1 else ''}")
    for i, name in enumerate(names):
        # drawn in every panel, so that each legend entry exists whichever panel it is taken from
        work, values = zip(*curves.get((name, steps), [(math.nan, math.nan)]), strict=True)
        shape = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7], "ls": DASHES[i // 7 % 3]}
        axis.plot(
            work,
            np.maximum(values, excess.smallest),
            ms=5,
            mec="white",
            mew=0.6,
            lw=1.5,
            label=printable(name),
            **shape,
        )
    if excess.teacher is not None:
        axis.axhline(
            max(excess.teacher, excess.smallest),
            color=FAINT,
            ls=(0, (6, 3)),
            lw=1.2,
            label="teacher, many steps",
        )
    axis.set(xscale="log", yscale="log")
    if excess.floor is not None:
        axis.axhspan(excess.smallest / 2, excess.smallest, color=WASH, lw=0, label="real data (floor)")
        axis.set_ylim(bottom=excess.smallest / 1.4)
    axis.grid(True, which="major", color="#DDDDDD", lw=0.6)


def sample_grid_png(
    tiles: Mapping[str, NDArray[Any]],
    path: Path,
    *,
    modes: Modes | None = None,
    shown: int = 40,
) -> Path:
    """Draw samples of several generators beside each other, one labelled panel each. Returns the path.

    Args:
        tiles: by name, images uint8 ``[n, C, H, W]`` with C 1 or 3, or points ``[n, 2]``.
        modes: means ``[K, 2]`` and standard deviation of the true mixture: circles of two deviations.
        shown: images of a panel at most; points are all shown.

    Raises:
        ValueError: nothing to show, or arrays of another shape or type.
    """
    if not tiles:
        raise ValueError("no samples to show")
    sizes = [_drawn_size(name, samples[:shown]) for name, samples in tiles.items()]
    wide = 4 if len(tiles) == 4 else COLUMNS.get(len(tiles), 3 if len(tiles) < 7 else 4)
    tall = math.ceil(len(tiles) / wide)
    figure = new_figure(8.2, 0.05 + tall * (8.2 / wide * max(h / w for h, w in sizes) + 0.2))
    axes = figure.subplots(tall, wide, squeeze=False)
    for axis, (name, samples) in zip(axes.flat, tiles.items(), strict=False):
        _style(axis, name)
        if samples.ndim == 2:
            _points(axis, samples, _half_width(tiles.values(), modes), modes)
        else:
            axis.imshow(mosaic(samples[:shown]), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(samples.ndim == 2)
        axis.spines[:].set_color("#CCCCCC")
    for axis in axes.flat[len(tiles) :]:
        axis.set_visible(False)
    return save(figure, path)


def _drawn_size(name: str, samples: NDArray[Any]) -> tuple[int, int]:
    """Height and width of a panel; raises ValueError for samples that cannot be drawn."""
    if len(samples) and samples.ndim == 2 and samples.shape[1] == 2:
        return 1, 1
    if len(samples) and samples.ndim == 4 and samples.shape[1] in (1, 3) and samples.dtype == np.uint8:
        return mosaic(samples).shape[0], mosaic(samples).shape[1]
    expected = "uint8 [n, 1 or 3, H, W] or points [n, 2]"
    raise ValueError(f"samples of {name!r}: found {samples.dtype} {list(samples.shape)}, expected {expected}")


def mosaic(images: NDArray[Any], gap: int = 1) -> NDArray[Any]:
    """Images ``[n, C, H, W]`` uint8 side by side, eight in a row, light gaps between: ``[H', W', 3]``."""
    n, _, height, width = images.shape
    columns = min(n, TILE_COLUMNS)
    canvas = np.full(
        (math.ceil(n / columns) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8
    )
    for k, image in enumerate(images):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return canvas


def _points(axis: Any, points: NDArray[Any], half: float, modes: Modes | None) -> None:
    outside = int((np.abs(points) > half).any(1).sum())
    if outside:
        axis.text(0.03, 0.03, f"{outside} outside", transform=axis.transAxes, fontsize=8, color=FAINT)
    for centre in modes[0] if modes else ():
        radius = 2 * modes[1] if modes else 0.0
        axis.add_patch(Circle((centre[0], centre[1]), radius, fill=False, color="#D55E00", lw=1.0, zorder=2))
    axis.scatter(*points.T, s=3, color=COLOURS[0], alpha=0.35, lw=0, rasterized=True, zorder=1)
    axis.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")


def _half_width(clouds: Iterable[NDArray[Any]], modes: Modes | None) -> float:
    """Half the side of the shown square: a margin around the modes, else around nearly all points."""
    if modes is not None:
        return float(1.35 * (np.abs(modes[0]).max() + 2 * modes[1]))
    return float(1.1 * max(np.quantile(np.abs(cloud), 0.99) for cloud in clouds))


def new_figure(width: float, height: float) -> Figure:
    """A white figure of ``width`` by ``height`` inches (110 pixels each) that needs no display."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _style(axis: Any, title: str) -> None:
    axis.set_title(printable(title), fontsize=10, color=INK, loc="left")
    axis.tick_params(labelsize=9, colors=INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _caption(figure: Figure, axis: Any, title: str) -> None:
    figure.suptitle(printable(title), fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    handles, labels = axis.get_legend_handles_labels()
    columns = 5 if max(map(len, labels)) < 20 else 3
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=9, frameon=False)


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG; equal data give equal bytes under the same matplotlib."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", metadata={"Software": None})
    partial.replace(path)
    return path
