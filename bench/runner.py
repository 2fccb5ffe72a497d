"""Runs cells and isolates their failures: a cell that breaks becomes a failed record, and the rest go on.

Every stage is content-addressed (``bench.store``), so a killed run goes on where it stopped, and a cell that
shares work with another (the samples of a solver, say) does not do it twice.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import torch

from bench.atomic import write_atomic
from bench.budget import StepTimeout
from bench.cell import Cell
from bench.errors import BenchError
from bench.record import Failure, Record, Status, read_record, write_record
from bench.stages import Bench, CellStages, surroundings
from bench.store import Events, explain_disk, locked
from bench.training import Diverged

STATUS_OF: dict[type[BaseException], Status] = {Diverged: "diverged", StepTimeout: "timeout"}


class Runner:
    """Runs cells of one suite into one store."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.store, self.reporter = bench, bench.store, bench.reporter

    def run(self, cell: Cell) -> Record:
        """Run one cell to its record; a failure becomes a failed record, an interrupt propagates."""
        folder = self.store.cell_folder(cell.suite.id, cell.id)
        path = folder / "record.json"
        with locked(folder), explain_disk(self.store.root):
            made_from = json.dumps({"cell": cell.spec(), "with": surroundings(self.bench)}, indent=1) + "\n"
            spec = folder / "spec.json"
            if path.is_file() and spec.is_file() and spec.read_text() == made_from:
                record = read_record(path)
                if record.status in ("ok", "truncated"):
                    self.reporter.finished(cell.label, record, cached=True)
                    return record
            path.unlink(missing_ok=True)
            write_atomic(spec, made_from)
            events = Events(folder / "events.jsonl")
            record = self._attempt(cell, folder, events)
            write_record(record, path)
            self._status(folder, record.status, "record")
            events.write("finished", status=record.status)
        self.reporter.finished(cell.label, record)
        return record

    def _attempt(self, cell: Cell, folder: Path, events: Events) -> Record:
        stage = CellStages(self.bench, cell, folder, events)
        try:
            return stage.record()
        except KeyboardInterrupt:
            self._status(folder, "lost", stage.current)
            raise
        except Exception as error:
            status = STATUS_OF.get(type(error), "failed")
            tail = "".join(traceback.format_exception(error)[-6:])[-4000:]
            kind = (
                "out of memory"
                if isinstance(error, torch.OutOfMemoryError | MemoryError)
                else type(error).__name__
            )
            message = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            events.write("failed", stage=stage.current, message=message)
            failure = Failure(stage=stage.current, kind=kind, message=message, traceback=tail)
            return stage.bare_record(status, failure)

    def _status(self, folder: Path, status: str, stage: str) -> None:
        write_atomic(folder / "status.json", json.dumps({"status": status, "stage": stage}) + "\n")


def run_cells(runner: Runner, cells: list[Cell], *, fail_fast: bool = False) -> list[Record]:
    """Run cells in order; with ``fail_fast`` the first failure ends the run."""
    records: list[Record] = []
    for number, cell in enumerate(cells):
        runner.reporter.started(cell.label, number, len(cells))
        records.append(runner.run(cell))
        if fail_fast and records[-1].status not in ("ok", "truncated"):
            break
    return records
