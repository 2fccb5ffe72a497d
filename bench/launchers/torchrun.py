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
from bench.distributed.following import LeaderStages, follow
from bench.distributed.group import Group
from bench.errors import BenchError
from bench.launchers.launcher import Launcher
from bench.progress import PlainReporter, Reporter
from bench.record import Record
from bench.request import Request
from bench.runner import Runner, run_cells
from bench.stages import surroundings
from bench.tracking import Opener

RESTARTS = 3  # after the loss of a process: all go on from the checkpoint


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

    def watchers(self, opener: Opener | None, cells: Sequence[Cell]) -> list[Reporter]:
        return super().watchers(opener, cells) if self.speaks else [PlainReporter(lambda line: None)]

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        group = Group.join(self.request.device)
        runner.bench = replace(runner.bench, processes=group.size)
        group.agree(identity(runner, cells))
        if group.leads:
            runner.stages = partial(LeaderStages, group=group)
            records = run_cells(runner, cells, fail_fast=self.request.fail_fast)
            group.tell(None)
        else:
            bench = runner.bench
            how = {"compiled": bench.compiled, "sharded": bench.sharded}
            follow(group, bench.lab, {cell.id: cell for cell in cells}, **how)
            records = []
        group.leave()
        return records


class Torchrun(Launcher):
    """Starts the processes on this machine and collects what they recorded."""

    here = False

    def __init__(self, request: Request) -> None:
        super().__init__(replace(request, device="cpu"))  # here nothing is computed
        self.asked = replace(request, launcher="local", processes=None)
        self.processes = request.processes or max(2, torch.cuda.device_count())

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        with tempfile.TemporaryDirectory(prefix="bench-ranks-") as place:
            job = Path(place) / "request.json"
            job.write_text(self.asked.to_json(), encoding="utf-8")
            words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            words += [f"--nproc-per-node={self.processes}", f"--max-restarts={RESTARTS}"]
            ended = subprocess.run([*words, "-m", "bench.launchers.ranks", str(job)], check=False)
        if ended.returncode:
            raise BenchError(
                f"--launcher torchrun: the processes ended with status {ended.returncode} after "
                f"{RESTARTS} restarts; what they printed says why. The same command resumes"
            )
        return [runner.record_of(cell) for cell in cells if runner.has_record(cell)]


def identity(runner: Runner, cells: Sequence[Cell]) -> dict[str, Any]:
    """What must be the same on every rank, since it decides numbers."""
    made = {f"digest of {key}": value for key, value in surroundings(runner.bench).items()}
    versions = {"distillbench": __version__, "torch": torch.__version__}
    asked = {"--shard": runner.bench.sharded}
    return {**versions, **made, **asked, "cells": [cell.id for cell in cells]}
