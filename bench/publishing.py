"""From finished runs to committed results: record files, the grid of samples, the board."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from baselines.datasets.mixtures import MIXTURES
from baselines.datasets.scene_captions import captioned
from baselines.datasets.scenes import SPLITS
from bench.cli.options import portable
from bench.errors import BenchError, UsageError
from bench.record import Record, read_record, write_record
from bench.report.board import write_board
from bench.report.collect import collect, record_name
from bench.report.pictures import sample_grid_png
from bench.report.prompts import ROWS, prompt_grid_png
from bench.store import read_json
from bench.suite import Suite
from bench.suite_protocol import SMOKE, CaptionProtocol

PANELS = 12  # of the sample grid at most
POINTS = 1500  # of a scatter panel


def publish_runs(suite: Suite, runs: Path, records: Path, budget: str | None = None) -> list[Path]:
    """Publish the finished records of a suite; returns the files that changed.

    Raises:
        BenchError: nothing finished there.
        UsageError: the record of a smoke run.
    """
    folders = [path.parent for path in sorted(runs.glob(f"{suite.id}/*/record.json"))]
    taken = {folder: with_preset(read_record(folder / "record.json"), folder) for folder in folders}
    taken = {folder: r for folder, r in taken.items() if budget is None or r.budget == budget}
    if not taken:
        raise BenchError(
            f"{runs}: no finished cell of {suite.id}" + (f" at budget {budget}" if budget else "")
        )
    latest: dict[Path, Record] = {}  # of a cell that was made twice, by another code say
    for record in sorted(taken.values(), key=lambda one: one.provenance.created):
        if record.protocol.endswith(SMOKE):
            raise UsageError(f"{runs}: {record.label} is of a smoke run, which is no result")
        command = portable(shlex.split(record.command)[1:])
        latest[records / suite.name / file_name(record, suite)] = record.model_copy(
            update={"command": command}
        )
    written = [path for path, record in latest.items() if not path.is_file() or read_record(path) != record]
    for path in written:  # one that says the same keeps its bytes
        write_record(latest[path], path)
    committed = collect(sorted((records / suite.name).glob("*.json")), suite)
    board = records.parent / suite.name
    tiles = sample_tiles(taken, runs)
    if tiles:
        written.append(grid_of(suite, tiles, board / "grid.png"))
    return [*written, *write_board(committed, suite, board)]


def grid_of(suite: Suite, tiles: dict[str, np.ndarray], path: Path) -> Path:
    """Samples side by side: of captions each beside its caption, else panel by panel."""
    if isinstance(suite.protocol, CaptionProtocol):
        split, seed = SPLITS[suite.protocol.split], suite.protocol.seed
        captions = [captioned(split, seed, index).caption for index in range(ROWS)]
        return prompt_grid_png(tiles, captions, path)
    return sample_grid_png(tiles, path, modes=modes_of(suite))


def with_preset(record: Record, folder: Path) -> Record:
    """The record with batch and average from the specification beside it, where an older one lacks them."""
    if record.kind != "student" or record.preset is not None:
        return record
    return record.model_copy(update={"preset": read_json(folder / "spec.json")["cell"]["preset"]})


def file_name(record: Record, suite: Suite) -> str:
    """Name of a committed record; one under another protocol than the suite's says which."""
    other = "" if record.protocol == suite.protocol.id else f".{record.protocol}"
    return f"{record_name(record)}{other}.json"


def modes_of(suite: Suite) -> Any:
    """Means and spread of a mixture suite, for its scatter panels; None for images."""
    if suite.protocol.evaluator != "points":
        return None
    mixture = MIXTURES[suite.teacher]()
    return mixture.means, mixture.std


def sample_tiles(taken: dict[Path, Record], runs: Path) -> dict[str, np.ndarray]:
    """Samples by "label, NFE": real data, the teacher's best row, then students by step count."""
    order = {"anchor": 0, "teacher": 1, "student": 2, "solver": 3}
    rows = [
        (
            order[record.kind],
            row.steps if record.kind != "teacher" else -row.steps,
            record.label,
            row.nfe,
            folder,
        )
        for folder, record in taken.items()
        for row in record.rows
        if record.kind in order and (record.kind != "anchor" or record.label == "real")
    ]
    tiles: dict[str, np.ndarray] = {}
    for _, steps, label, nfe, folder in sorted(rows)[:PANELS]:
        stage = read_json(folder / "stages.json")[f"samples-{abs(steps)}"]
        name = f"{label}, NFE {nfe}" if steps else label
        tiles[name] = load_file(runs / stage / "samples.safetensors")["samples"][:POINTS]
    return tiles
