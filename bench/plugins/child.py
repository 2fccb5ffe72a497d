"""One cell in a process of its own: ``python -m bench.plugins.child JOB.json PIPE``.

The record that it writes is a claim; the parent checks it before it is believed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.cell import Cell
from bench.errors import BenchError
from bench.events import EVENTS, Events
from bench.failures import failure_of
from bench.lab import Lab
from bench.plugins.guard import Guard
from bench.plugins.job import Job
from bench.record import Record, write_record
from bench.stages import Bench, CellStages
from bench.store import Store

REPORT_SECONDS = 0.2  # between two reports of a training


class Meddled(BenchError):
    """A plugin changed torch's global state, or the code that counts its work."""


class PipeReporter:
    """Tells the parent what happens: stages, shares of the budget, blocks of samples."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def tell(self, **report: Any) -> None:
        """Write one report."""
        os.write(self.pipe, json.dumps(report).encode() + b"\n")

    def started(self, label: str, number: int, total: int) -> None:
        """The parent knows."""

    def stage(self, label: str, stage: str) -> None:
        self.tell(stage=stage)

    def training(self, label: str) -> Callable[[float, dict[str, float]], None]:
        told = 0.0

        def report(share: float, scalars: dict[str, float]) -> None:
            nonlocal told
            if time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                self.tell(share=share, scalars=scalars)

        return report

    def finished(self, label: str, record: Record, cached: bool = False) -> None:
        """The parent sees the claim."""

    def close(self) -> None:
        """Nothing to release."""


class OwnStore(Store):
    """A store whose stages are shared with cells of the same method and source only.

    Scores are keyed by samples: what one plugin made up must not be found by a cell that drew the same ones.
    """

    def __init__(self, root: Path, cell: Cell, *, patient: bool = False) -> None:
        super().__init__(root, patient=patient)
        assert cell.method is not None
        self.owner = [cell.method.cls.name, cell.method.closure_sha256]

    def stage(self, kind: str, inputs: dict[str, Any], make: Callable[[Path], None]) -> Path:
        return super().stage(kind, {**inputs, "plugin": self.owner}, make)


class GuardedStages(CellStages):
    """Stages that fail once the plugin has changed what all methods share."""

    guard: Guard
    pipe: PipeReporter

    def enter(self, stage: str) -> None:
        self.check()
        super().enter(stage)

    def check(self) -> None:
        """Raise Meddled naming what was changed."""
        changed = self.guard.restore()
        if changed:
            raise Meddled(f"the method changed {', '.join(changed)}")

    def sample(self, *given: Any, **named: Any) -> Path:
        self.pipe.tell(block=True)
        path = super().sample(*given, **named)
        self.check()
        return path


def main(words: list[str]) -> int:
    """Run the job and write the claim; the exit status is 0 whether the cell is fine or not."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    job, pipe = (
        Job.model_validate_json(Path(words[0]).read_text(encoding="utf-8")),
        PipeReporter(int(words[1])),
    )
    torch.set_num_threads(job.threads)
    pipe.tell(stage="teacher")
    lab = Lab.open(job.suite, job.device, checkpointing=job.checkpointing)
    limit_memory(job.device, job.memory_bytes)
    guard, cell = Guard.now(), job.resolve()
    bench = Bench(lab, OwnStore(job.out, cell, patient=job.patient), pipe, job.command, compiled=job.compiled)
    stages = GuardedStages(bench, cell, job.folder, Events(job.folder / EVENTS))
    stages.guard, stages.pipe = guard, pipe
    try:
        record = stages.record()
        stages.check()
    except BaseException as error:  # a plugin may raise SystemExit or KeyboardInterrupt
        cause = stages.store.lost(stages.paths.values()) or error
        failure = failure_of(stages.current, blamed(cause, guard.restore()), cell.suite)
        record = stages.bare_record(*failure)
    write_record(record, job.claim)
    return 0


def blamed(error: BaseException, changed: list[str]) -> BaseException:
    """The change of global state behind an error, if there was one."""
    if not changed or isinstance(error, Meddled):
        return error
    cause = Meddled(f"the method changed {', '.join(changed)}; then {type(error).__name__}: {error}")
    cause.__cause__ = error
    return cause


def end_with_parent() -> None:
    """Leave when the parent is gone: its end of our standard input closes."""
    while os.read(0, 1):
        pass
    os._exit(1)


def limit_memory(device: str, beyond: int) -> None:
    """Let allocations beyond the limit fail, so that a leak is an error with a traceback.

    Not on a GPU, whose driver maps the device's memory; the parent watches resident memory in any case.
    """
    status = Path("/proc/self/statm")
    if torch.device(device).type != "cpu" or not status.is_file():
        return
    mapped = int(status.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + beyond, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
