"""Runs cells and isolates their failures: a cell that breaks becomes a failed record, and the rest go on.

Cells of methods that ship run in this process; those of plugins each in a process of their own.

Every stage is content-addressed (``bench.store``), so a killed run goes on where it stopped, and a cell that
shares work with another (the samples of a solver, say) does not do it twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.atomic import write_atomic
from bench.cell import Cell
from bench.errors import AssetError
from bench.events import EVENTS, Events, write_status
from bench.failures import failure_of
from bench.plugins.apart import Apart, noted
from bench.record import Failure, Record, read_record, write_record
from bench.stages import Bench, CellStages, surroundings
from bench.store import explain_disk, locked, read_json
from bench.training_data import training_data


class Runner:
    """Runs cells of one suite into one store.

    Args:
        apart: runs the cells of plugin methods; None runs them in this process, as the others.
    """

    def __init__(self, bench: Bench, apart: Apart | None) -> None:
        self.bench, self.store, self.reporter, self.apart = bench, bench.store, bench.reporter, apart
        self.predicted: dict[str, float] = {}  # seconds by cell id, where they were estimated
        self.stages: Callable[[Bench, Cell, Path, Events], CellStages] = CellStages

    def finished(self, cell: Cell, *, anywhere: bool = False) -> Record | None:
        """The record of a cell that is done and would be made the same again; None for any other.

        Args:
            anywhere: on another device too.
        """
        folder = self.store.root / cell.suite.id / cell.id
        path, spec = folder / "record.json", folder / "spec.json"
        if not (path.is_file() and spec.is_file()):
            return None
        found, expected = read_json(spec), self._made_from(cell)
        if anywhere:
            expected["with"]["device"] = found.get("with", {}).get("device")
        if found != expected:
            return None
        record = read_record(path)
        return record if record.status in ("ok", "truncated") else None

    def has_record(self, cell: Cell) -> bool:
        """Whether a cell was given a record, of whatever status."""
        return (self.store.root / cell.suite.id / cell.id / "record.json").is_file()

    def record_of(self, cell: Cell) -> Record:
        """The record that a cell was given last."""
        return read_record(self.store.cell_folder(cell.suite.id, cell.id) / "record.json")

    def lost(self, cell: Cell, failure: Failure) -> Record:
        """Give a cell whose process died under it a record that says so."""
        folder = self.store.cell_folder(cell.suite.id, cell.id)
        events = Events(folder / EVENTS)
        with locked(folder), explain_disk(self.store.root):
            record = noted(CellStages(self.bench, cell, folder, events), events, "lost", failure)
            write_record(record, folder / "record.json")
            write_status(folder, record.status, "record")
        return record

    def _made_from(self, cell: Cell) -> dict[str, Any]:
        data: dict[str, str | None]
        try:
            drawn = self.bench.lab.evaluator.drawn_from(anchor=cell.kind == "anchor")
            data = {**training_data(cell), **drawn}
        except AssetError:  # the stage that needs it fails by the same sentence, so there is no result
            data = {"data": None}
        made = {"cell": cell.spec(), "with": {**surroundings(self.bench), **data}}
        return dict(json.loads(json.dumps(made)))  # as it reads from a file

    def run(self, cell: Cell) -> Record:
        """Run one cell to its record; a failure becomes a failed record, an interrupt propagates."""
        folder = self.store.cell_folder(cell.suite.id, cell.id)
        path, started = folder / "record.json", time.monotonic()
        with locked(folder), explain_disk(self.store.root):
            if (record := self.finished(cell)) is not None:
                self.reporter.finished(cell.label, record, cached=True)
                return record
            path.unlink(missing_ok=True)
            write_atomic(folder / "spec.json", json.dumps(self._made_from(cell), indent=1) + "\n")
            write_status(folder, "running", "teacher")
            events = Events(folder / EVENTS)
            record = self._attempt(cell, folder, events)
            write_record(record, path)
            write_status(folder, record.status, "record")
            took = {"seconds": round(time.monotonic() - started, 3)}
            if cell.id in self.predicted:
                took["predicted_seconds"] = round(self.predicted[cell.id], 3)
            events.write("finished", status=record.status, **took)
        self.reporter.finished(cell.label, record)
        return record

    def _attempt(self, cell: Cell, folder: Path, events: Events) -> Record:
        stage = self.stages(self.bench, cell, folder, events)
        try:
            if self.apart is not None and cell.method is not None and not cell.method.ships:
                return self.apart.run(cell, folder, events)
            return stage.record()
        except KeyboardInterrupt:
            write_status(folder, "lost", stage.current)
            events.write("interrupted", stage=stage.current)
            raise
        except Exception as error:
            status, failure = failure_of(
                stage.current, self.store.lost(stage.paths.values()) or error, cell.suite
            )
            events.write("failed", stage=stage.current, message=failure.message)
            return stage.bare_record(status, failure)


def run_cells(runner: Runner, cells: list[Cell], *, fail_fast: bool = False) -> list[Record]:
    """Run cells in order; with ``fail_fast`` the first failure ends the run."""
    records: list[Record] = []
    for number, cell in enumerate(cells):
        runner.reporter.started(cell.label, number, len(cells))
        records.append(runner.run(cell))
        if fail_fast and records[-1].status not in ("ok", "truncated"):
            break
    return records
