"""Pictures of a run: its curves and its samples. Imports matplotlib and numpy, so import this lazily."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import safe_open

from baselines.datasets.mixtures import MIXTURES
from bench.errors import UsageError
from bench.record import Record
from bench.report.pictures import (
    COLOURS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    Modes,
    new_figure,
    sample_grid_png,
    save,
)
from bench.report.plot import Points
from bench.report.run_curves import metric_curves, progress
from bench.report.runs import cells_of, finished_record, is_cell
from bench.report.text import printable
from bench.store import read_json
from bench.suite import load_suite

PANELS = 12  # of samples at most
SHOWN = 1500  # points of a panel; of images fewer are drawn


def run_pictures(path: Path, out: Path) -> list[Path]:
    """Draw ``<suite>-curves.png`` and ``<suite>-samples.png`` of a cell, or of all suites in a folder.

    Of a cell that trains, the scalars so far are drawn as ``<suite>-training.png``.

    Returns:
        The files written.

    Raises:
        UsageError: not a run's folder, or nothing in it that can be drawn yet.
    """
    if not path.is_dir():
        raise UsageError(f"--png: {path}: expected the folder of a cell or of runs")
    written: list[Path] = []
    by_suite: dict[str, list[Path]] = {}
    for cell in [path] if is_cell(path) else cells_of(path):
        by_suite.setdefault(cell.resolve().parent.name, []).append(cell)
    for suite, cells in by_suite.items():
        done = [(cell, record) for cell in cells if (record := finished_record(cell)) is not None]
        curves = metric_curves([record for _, record in done])
        panels = {f"{key}, {steps} step{'s' * (steps != 1)}": lines for (key, steps), lines in curves.items()}
        if panels:
            written.append(lines_png(panels, "training work, units", out / f"{suite}-curves.png"))
        if not done and is_cell(path) and (scalars := progress(path)):
            told = {name: {"": points} for name, points in scalars.items()}
            written.append(lines_png(told, "share of the budget", out / f"{suite}-training.png", log=False))
        if tiles := tiles_of(done):
            modes = modes_of(suite.partition("@")[0])
            written.append(sample_grid_png(tiles, out / f"{suite}-samples.png", modes=modes))
    if not written:
        raise UsageError(f"--png: {path}: no curve and no samples there yet")
    return written


def lines_png(
    panels: Mapping[str, Mapping[str, Points]], across: str, path: Path, *, log: bool = True
) -> Path:
    """Draw panels of lines beside each other. Returns the path."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    wide = min(len(panels), 3)
    tall = -(-len(panels) // wide)
    figure = new_figure(max(4.2, 3.4 * wide), 2.9 * tall + 0.3)
    axes = figure.subplots(tall, wide, squeeze=False)
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        axis.set_title(printable(title), fontsize=10, color=INK, loc="left")
        for name, points in lines.items():
            i = names.index(name)
            kept = [point for point in points if point[0] > 0 or not log]
            shape = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7], "ls": DASHES[i // 7 % 3]}
            x, y = zip(*kept, strict=True) if kept else ((), ())
            axis.plot(x, y, ms=4, lw=1.4, label=printable(name), **shape)
        positive = all(y > 0 for points in lines.values() for _, y in points)
        axis.set(xscale="log" if log else "linear", yscale="log" if log and positive else "linear")
        axis.set_xlabel(across, fontsize=9, color=FAINT)
        axis.tick_params(labelsize=9, colors=INK)
        axis.grid(True, color="#DDDDDD", lw=0.6)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    if any(names):
        handles = {
            label: h for a in axes.flat for h, label in zip(*a.get_legend_handles_labels(), strict=True)
        }
        columns = 1 if wide == 1 else 3 if max(map(len, handles)) < 34 else 2
        figure.legend(
            handles.values(), handles, loc="outside lower left", ncols=columns, fontsize=9, frameon=False
        )
    return save(figure, path)


def tiles_of(done: Iterable[tuple[Path, Record]]) -> dict[str, NDArray[Any]]:
    """Stored samples by "label, steps, seed"; those that were cleaned away are left out."""
    tiles: dict[str, NDArray[Any]] = {}
    for cell, record in done:
        for row in record.rows:
            if len(tiles) < PANELS and (found := stored_samples(cell, row.steps, SHOWN)) is not None:
                steps = f", {row.steps} step{'s' * (row.steps != 1)}" if row.steps else ""
                seed = f", seed {record.seed}" if record.seed else ""
                tiles[f"{record.label}{steps}{seed}"] = found
    return tiles


def stored_samples(cell: Path, steps: int, most: int) -> NDArray[Any] | None:
    """The first samples of a row, ``most`` of them, by a cell's folder; None if they were cleaned away."""
    places = read_json(cell / "stages.json") if (cell / "stages.json").is_file() else {}
    root = cell.resolve().parent.parent
    path = root / str(places.get(f"samples-{steps}", "")) / "samples.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, framework="numpy") as stream:
        stored = stream.get_slice("samples")
        first: NDArray[Any] = stored[: min(most, stored.get_shape()[0])]
        return first


def modes_of(suite: str) -> Modes | None:
    """Means and spread of a mixture suite; None for images, and for suites that are not known here."""
    try:
        mixture = MIXTURES[load_suite(suite).teacher]()
    except (UsageError, KeyError):
        return None
    return mixture.means, mixture.std
