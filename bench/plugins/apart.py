"""Cells of plugin methods, each run in a child process of its own, so that it can cost nothing but itself.

    parent: cell -> Job -> child: distil, sample, measure -> claim (a record) -> parent: checks -> record

The child is a fresh interpreter: it inherits no thread, setting or module of this process.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baselines.networks.checkpointing import checkpoints
from bench.cell import Cell
from bench.compiling import calls_of
from bench.events import Events
from bench.plugins.belief import Disbelief, believed
from bench.plugins.job import Job
from bench.plugins.supervise import Ending, free_bytes, supervise
from bench.plugins.words import python
from bench.progress import Reporter
from bench.record import Failure, Record, Status
from bench.stages import Bench, CellStages

START_SECONDS = 600.0  # for imports and the teacher's weights, on a busy machine
GRACE_SECONDS = 60.0  # beyond the budget's limit of a step: checkpoints, a slow disk
BLOCK_STEPS = 10.0  # a block of samples, or a timing, may take as long as this many of the longest steps
MEMORY_SHARE = 0.8  # of the memory that is free when the cell starts
OUTPUT = "output.txt"  # what the child printed, in the cell's folder


class Pulse:
    """What a child reports, and whether it has been quiet too long.

    In training only a growing share of the budget counts as a sign of life: a method that runs and spends
    nothing would never end.
    """

    def __init__(self, label: str, reporter: Reporter, step_seconds: float) -> None:
        self.label, self.reporter, self.step_seconds = label, reporter, step_seconds
        self.stage, self.share, self.heard = "start", -1.0, time.monotonic()
        self.show = reporter.training(label)

    @property
    def patience(self) -> float:
        """Seconds of silence allowed in the present stage."""
        if self.stage in ("start", "teacher"):
            return START_SECONDS
        steps = 1.0 if self.stage == "distil" else BLOCK_STEPS
        return steps * self.step_seconds + GRACE_SECONDS

    def report(self, line: bytes) -> None:
        """Take in one line of the child; anything else than a report is ignored."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict):
            return
        stage, share = value.get("stage"), value.get("share")
        if isinstance(stage, str) and stage.isalpha() and len(stage) < 20:
            self.stage, self.heard = stage, time.monotonic()
            self.reporter.stage(self.label, stage)
        elif isinstance(share, float) and self.share < share <= 1:
            self.share, self.heard = share, time.monotonic()
            self.show(share, scalars_of(value.get("scalars")))
        elif value.get("block") is True and self.stage != "distil":
            self.heard = time.monotonic()

    def silent(self, now: float) -> bool:
        """Whether patience is at its end."""
        return now - self.heard > self.patience


def scalars_of(value: Any) -> dict[str, float]:
    """Finite numbers by short name, out of whatever a child sent."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {key[:40]: v for key, v in pairs if isinstance(v, float) and math.isfinite(v)}


@dataclass(frozen=True)
class Apart:
    """Runs cells in child processes.

    Attributes:
        memory_bytes: that a cell may take; None: most of what is free when it starts.
    """

    bench: Bench
    memory_bytes: int | None = None

    def run(self, cell: Cell, folder: Path, events: Events) -> Record:
        """One cell to its record, whatever its method does."""
        stages = CellStages(self.bench, cell, folder, events)
        memory = self.memory_bytes or int(MEMORY_SHARE * free_bytes())
        slack = calls_of(self.bench.compiled, self.bench.lab.device).slack
        pulse = Pulse(cell.label, self.bench.reporter, cell.budget.step_seconds * slack)
        with tempfile.TemporaryDirectory(prefix="bench-cell-") as place:
            claim = Path(place) / "record.json"
            job = Path(place) / "job.json"
            job.write_text(self.job(cell, folder, claim, memory).model_dump_json(), encoding="utf-8")
            ending = supervise(
                python("bench.plugins.child", str(job)),
                output=folder / OUTPUT,
                on_report=pulse.report,
                silent=pulse.silent,
                memory_bytes=memory,
            )
            if ending.why == "exit" and ending.code == 0 and claim.is_file():
                try:
                    return believed(claim, stages)
                except Disbelief as error:
                    failure = Failure(stage="record", kind="not believed", message=str(error))
                    return noted(stages, events, "failed", failure)
        status, failure = explain(ending, pulse, memory, folder / OUTPUT)
        return noted(stages, events, status, failure)

    def job(self, cell: Cell, folder: Path, claim: Path, memory: int) -> Job:
        """The cell as a child is told of it."""
        assert cell.method is not None
        return Job(
            suite=cell.suite,
            plugin=cell.method.given,
            label=cell.label,
            budget=cell.budget_name,
            steps=cell.steps,
            seed=cell.seed,
            cell=cell.id,
            device=str(self.bench.lab.device),
            threads=torch.get_num_threads(),
            out=self.bench.store.root.resolve(),
            folder=folder.resolve(),
            claim=claim,
            memory_bytes=memory,
            checkpointing=checkpoints(self.bench.lab.net),
            compiled=self.bench.compiled,
            patient=self.bench.store.patient,
            command=self.bench.command,
        )


def noted(stages: CellStages, events: Events, status: Status, failure: Failure) -> Record:
    """A record without results, and an event on it."""
    events.write("failed", stage=failure.stage, message=failure.message)
    return stages.bare_record(status, failure)


def explain(ending: Ending, pulse: Pulse, memory: int, output: Path) -> tuple[Status, Failure]:
    """Status and failure of a cell whose process left no record."""
    status: Status = "lost"
    if ending.why == "silent":
        status, kind = "timeout", "hung"
        message = f"no progress in {pulse.stage} for {pulse.patience:g} s; its process was killed"
    elif ending.why == "memory":
        status, kind = "failed", "out of memory"
        message = f"took more than {memory / 2**20:.0f} MiB and was killed"
    elif ending.why == "signal":
        kind, message = "killed", f"its process died of signal {ending.code}"
    else:
        kind, message = "exit", f"its process left with status {ending.code} and no record"
    printed = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    last = "".join(c for c in printed[-2000:] if c.isprintable() or c == "\n")
    return status, Failure(stage=pulse.stage, kind=kind, message=message, traceback=last)
