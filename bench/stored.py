"""A finished cell read back: from its samples every metric can be computed again without the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from bench.errors import AssetError, UsageError
from bench.evaluation import evaluator_for
from bench.evaluator import Evaluator
from bench.record import MetricValue, Record, Row, read_record
from bench.stages import metric_value
from bench.store import digest, file_digest, read_json
from bench.suite import Suite, load_suite

Score = Callable[[np.ndarray, int], dict[str, float]]  # samples of a block and its seed to metrics


@dataclass(frozen=True)
class StoredCell:
    """The folder ``runs/<suite>@<version>/<cell-id>`` of a finished cell.

    Attributes:
        folder: where it lies; record: what stands in it; suite: what it is of.
    """

    folder: Path
    record: Record
    suite: Suite

    @staticmethod
    def open(folder: str | Path, suite: Suite | None = None) -> StoredCell:
        """Read a cell's folder.

        Args:
            suite: as it was run; by default the one that ships, or is installed, under the record's name.

        Raises:
            UsageError: no record there, or one without rows.
        """
        path = Path(folder)
        if not (path / "record.json").is_file() or not (path / "stages.json").is_file():
            raise UsageError(
                f"{path}: expected the folder of a finished cell, with record.json and stages.json"
            )
        record = read_record(path / "record.json")
        if not record.rows:
            raise UsageError(f"{path}: {record.label} has status {record.status!r} and no row")
        return StoredCell(path, record, suite or load_suite(record.suite))

    @cached_property
    def evaluator(self) -> Evaluator:
        """What scores samples of the suite."""
        return evaluator_for(self.suite)

    def seeds(self, row: Row) -> list[int]:
        """Sampling seeds of a row's repeats."""
        repeats = max((len(value.values) for value in row.metrics.values()), default=0)
        blocks = self.suite.protocol.blocks
        step = blocks[1] - blocks[0] if len(blocks) > 1 else 1
        first = self.record.provenance.seeds["sample"]
        return [first + step * r for r in range(repeats)]

    def block_folders(self, row: Row) -> list[Path]:
        """Stage of the samples of every repeat of a row; raises AssetError if the row has none."""
        root = self.folder.parent.parent
        place = read_json(self.folder / "stages.json").get(f"samples-{row.steps}")
        if place is None:
            raise AssetError(f"{self.folder}: no samples of {row.steps} steps; run the cell again")
        first = root / str(place)
        inputs = read_json(first / "done.json")["inputs"]
        keys = [digest({**inputs, "seed": seed})[:20] for seed in self.seeds(row)]
        return [root / "stages" / "samples" / key for key in keys]

    def block_files(self, row: Row) -> list[tuple[Path, str]]:
        """Files of the samples of every repeat of a row with the digests that they must have."""
        first, *others = self.block_folders(row)
        return [stored_file(first, row.samples_sha256), *map(stored_file, others)]

    def blocks(self, row: Row) -> list[np.ndarray]:
        """Samples of every repeat of a row, as they were scored: uint8 images or points.

        Raises:
            AssetError: a block is missing or not the one that the record was made from.
        """
        return [read_samples(path, expected) for path, expected in self.block_files(row)]


def stored_file(folder: Path, expected: str | None = None) -> tuple[Path, str]:
    """File of the samples of a stage, and their digest: ``expected``, or as its ``done.json`` has it.

    Raises:
        AssetError: no samples there.
    """
    path, done = folder / "samples.safetensors", folder / "done.json"
    if not path.is_file() or not done.is_file():
        raise AssetError(f"{path}: no such samples; run the cell again to draw them")
    return path, expected or str(read_json(done)["files"][path.name])


def read_samples(path: Path, expected: str) -> np.ndarray:
    """Samples of a file; raises AssetError for one of another digest (with both)."""
    if (found := file_digest(path)) != expected:
        raise AssetError(f"{path}: sha256 found {found}, expected {expected}; run the cell again")
    return np.asarray(load_file(path)["samples"])


def rescore(folder: str | Path, score: Score | None = None) -> dict[int, dict[str, MetricValue]]:
    """Metrics of every row of a finished cell, computed again from its stored samples; no method is loaded.

    Args:
        folder: ``runs/<suite>@<version>/<cell-id>``.
        score: what to compute of a block and its seed; by default the suite's own metrics, which come out
            as the record has them, up to rounding.

    Returns:
        Metrics by key, by step count.

    Raises:
        UsageError: no finished cell there; AssetError: samples missing or damaged.
    """
    cell = StoredCell.open(folder)
    law = score or cell.evaluator.score
    found = {}
    for row in cell.record.rows:
        scores = [law(block, seed) for block, seed in zip(cell.blocks(row), cell.seeds(row), strict=True)]
        found[row.steps] = {key: metric_value([one[key] for one in scores]) for key in scores[0]}
    return found
