"""The typed Python API: load what stands behind a leaderboard row and sample from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.distiller import Generator
from bench.cell import preset_for
from bench.errors import AssetError, UsageError
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.record import Record, Row, read_record
from bench.sampling import draw_samples
from bench.selector import parse_selector
from bench.store import file_digest, read_json
from bench.suite import load_suite
from bench.training import Snapshot, snapshot_files
from metrics.precision import tf32


@dataclass(frozen=True)
class LoadedRow:
    """A student behind a row.

    Attributes:
        record: the whole record; row: the line of it that was asked for.
        lab: suite, teacher and evaluator; generator: ready to sample.
    """

    record: Record
    row: Row
    lab: Lab
    generator: Generator

    def sample(self, count: int, seed: int | None = None) -> np.ndarray:
        """Samples ``0 .. count`` of a block as they are scored: uint8 images or points, ``[count, *shape]``.

        Args:
            seed: of the block; by default that of the protocol's first repeat, so that the samples behind the
                row's number come back.
        """
        protocol = self.lab.suite.protocol
        with tf32(protocol.tf32):
            x = draw_samples(
                self.generator,
                self.lab.inputs,
                seed=protocol.seed if seed is None else seed,
                count=count,
                steps=self.row.steps,
                batch=protocol.batch,
                device=self.lab.device,
            )
            return self.lab.evaluator.pixels(x)


def bare(network: Any) -> Any:
    """A network without a shell."""
    return network


def load(
    folder: str | Path,
    steps: int | None = None,
    device: str = "cpu",
    plugins: tuple[Path, ...] = (),
    shell: Callable[[Any], Any] = bare,
) -> LoadedRow:
    """Load the student of a finished run.

    Args:
        folder: a cell's folder ``runs/<suite>@<version>/<cell-id>``.
        steps: step count of the row; needed where the record has several.
        plugins: files that define the method, if it is not built in.
        shell: put around each network before the generator is made, to watch its calls.

    Raises:
        UsageError: no record there, not a student, or a step count without a row.
        AssetError: the weights are not those of the record (both digests are shown).
    """
    folder = Path(folder)
    record = read_record(folder / "record.json")
    row = chosen_row(folder, record, steps)
    suite = load_suite(record.suite)
    method, _ = MethodRegistry(plugins).resolve(parse_selector(record.label))
    cls = method.cls
    lab = Lab.open(suite.teaching(preset_for(suite, method).restated(record.preset)), device)
    config = cls.Config.model_validate(record.config)
    path = checked_snapshot(folder, row.student_sha256)
    snapshot = Snapshot(path, lab.entry.build, cls.student_scaling(config, lab.space), lab.device)
    students = {count: shell(network) for count, network in snapshot.students.items()}
    return LoadedRow(record, row, lab, cls.generator(students, config, lab.space))


def chosen_row(folder: Path, record: Record, steps: int | None) -> Row:
    """The row of a step count, or the only one; raises UsageError where there is none, or no student."""
    rows = {row.steps: row for row in record.rows}
    if record.kind != "student" or not rows:
        raise UsageError(
            f"{folder}: a {record.kind} with status {record.status!r}, expected a finished student"
        )
    if steps is None and len(rows) == 1:
        steps = next(iter(rows))
    if steps not in rows:
        raise UsageError(
            f"{folder}: steps found {steps}, expected one of {', '.join(map(str, sorted(rows)))}"
        )
    return rows[steps]


def checked_snapshot(folder: Path, expected: str | None) -> Path:
    """The weights at the end of a cell's training, if they are those of the record."""
    path = last_snapshot(folder)
    found = file_digest(path)
    if found != expected:
        raise AssetError(f"{path}: sha256 found {found}, expected {expected} (record)")
    return path


def last_snapshot(folder: Path) -> Path:
    """The weights at the end of a cell's training."""
    stage = folder.parent.parent / read_json(folder / "stages.json")["distil"]
    snapshots = snapshot_files(stage)
    if not snapshots:
        raise AssetError(f"{stage}: no snapshot of the student; run the cell again")
    return snapshots[-1]
