"""Several processes on one cell: those that torchrun started, or that ``--launcher torchrun`` starts with it.

torchrun --nproc_per_node=2 -m bench run ...      this process is one of them: ``InGroup``
bench run ... --launcher torchrun --processes 2   starts ``bench.launchers.ranks`` under torchrun
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import __version__
from bench.cell import Cell
from bench.distributed.ending import RESTARTS, forget, started_again
from bench.distributed.following import LeaderStages, follow
from bench.distributed.group import Group
from bench.errors import BenchError
from bench.launchers.launcher import Launcher
from bench.progress import PlainReporter, Reporter
from bench.record import Record
from bench.request import Request
from bench.runner import Runner, run_cells
from bench.stages import surroundings
from bench.store import read_json
from bench.tracking import Opener

RANKS = "bench.launchers.ranks"  # the module that torchrun runs in each process
REFUSAL = "refusal.json"  # beside the request: why the processes did not take part


class InGroup(Launcher):
    """This process and its siblings, as torchrun started them; rank 0 runs the cells and speaks.

    Plugins run in these processes too: a cell that is shared out cannot be set apart.
    """

    def __init__(self, request: Request) -> None:
        device = request.device
        if device in ("auto", "cuda") and torch.cuda.is_available():
            device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
            torch.cuda.set_device(device)
        super().__init__(replace(request, device="cpu" if device == "auto" else device, isolate=False))
        self.speaks = self.here = os.environ["RANK"] == "0"
        self.group: Group | None = None

    def watchers(self, opener: Opener | None, cells: Sequence[Cell]) -> list[Reporter]:
        return super().watchers(opener, cells) if self.speaks else [PlainReporter(lambda line: None)]

    def join(self) -> Group:
        """Meet the others."""
        if self.group is None:
            self.group = Group.join(self.request.device)
        return self.group

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        group = self.join()
        runner.bench = replace(runner.bench, processes=group.size)
        group.agree(identity(runner, cells))
        again = any(group.everyone(started_again()))
        records: list[Record] = []
        if group.leads:
            records = self._led(group, runner, cells, again=again)
        else:
            follow(group, runner.bench, {cell.id: cell for cell in cells})
        group.leave()
        return records

    def _led(self, group: Group, runner: Runner, cells: list[Cell], *, again: bool) -> list[Record]:
        folders = [runner.store.cell_folder(cell.suite.id, cell.id) for cell in cells]
        for folder in () if again else folders:
            forget(folder)  # what another run noted
        runner.stages = partial(LeaderStages, group=group)
        try:
            records = run_cells(runner, cells, fail_fast=self.request.fail_fast)
        except Exception:  # between orders: the others wait for the next one
            group.tell(None)
            raise
        group.tell(None)
        for folder in folders:
            forget(folder)
        return records


class Torchrun(Launcher):
    """Starts the processes on this machine and collects what they recorded."""

    here = False

    def __init__(self, request: Request) -> None:
        super().__init__(replace(request, device="cpu"))  # here nothing is computed
        self.asked = replace(request, launcher="local", processes=None)
        self.processes = request.processes or max(2, torch.cuda.device_count())

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        restarts = RESTARTS + len(cells)  # each cell may cost one, if a rank fails in it alone
        with tempfile.TemporaryDirectory(prefix="bench-ranks-") as place:
            job = Path(place) / "request.json"
            job.write_text(self.asked.to_json(), encoding="utf-8")
            words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            words += [f"--nproc-per-node={self.processes}", f"--max-restarts={restarts}"]
            ended = subprocess.run([*words, "-m", RANKS, str(job)], check=False)
            if (refusal := job.with_name(REFUSAL)).is_file():
                raise refused(refusal)
        if ended.returncode:
            raise BenchError(
                f"--launcher torchrun: the processes ended with status {ended.returncode} after "
                f"{restarts} restarts; what they printed says why. The same command resumes"
            )
        return [runner.record_of(cell) for cell in cells if runner.has_record(cell)]


def refused(path: Path) -> BenchError:
    """The error that kept the processes from taking part."""
    said = read_json(path)
    error = BenchError(said["message"])
    error.status = said["status"]
    return error


def identity(runner: Runner, cells: Sequence[Cell]) -> dict[str, Any]:
    """What must be the same on every rank, since it decides numbers."""
    made = {f"digest of {key}": value for key, value in surroundings(runner.bench).items()}
    versions = {"distillbench": __version__, "torch": torch.__version__}
    asked = {"--shard": runner.bench.sharded}
    return {**versions, **made, **asked, "cells": [cell.id for cell in cells]}
