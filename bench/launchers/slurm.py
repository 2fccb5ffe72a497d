"""``--launcher slurm``: one job of a cluster for each cell (submitit), collected as they finish.

A job that reaches its time limit, or is preempted, goes back into the queue and on from its checkpoint. One
that dies costs its own cell. Whoever waits here may leave: the same command takes up the jobs that run still.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.atomic import write_atomic
from bench.cell import Cell
from bench.errors import UsageError, unknown
from bench.launchers.launcher import Launcher
from bench.parts import Resources
from bench.progress import Reporter, reporters
from bench.record import Failure, Record
from bench.request import Request, recognised
from bench.runner import Runner
from bench.store import read_json
from bench.suite import load_suite
from bench.suite_protocol import PublishedProtocol
from bench.workplace import open_cells

POLL_SECONDS = 1.0
TIME_LIMITS = 100  # that a job may reach before it counts as lost
CLUSTERS = ("slurm", "local")
OWN = ("cluster", "poll")  # options that are not sbatch's


@dataclass(frozen=True)
class CellJob:
    """What a job does: one cell to its record. Calling it again goes on from the checkpoint.

    Attributes:
        request: as JSON, so that the job resolves it with the code on its node.
    """

    request: str
    cell: str

    def __call__(self) -> str:
        request = Request.from_json(self.request)
        (reporter,) = reporters(1, load_suite(request.suite).primary)
        runner, cells = open_cells(request, reporter, patient=True)
        return runner.run(recognised(cells, self.cell)).status

    def checkpoint(self) -> Any:
        """At a time limit: the same again (what is on disk is the state)."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Slurm(Launcher):
    """Jobs of a cluster, or of submitit's local executor (``--slurm cluster=local``).

    Raises:
        UsageError: submitit or Slurm's tools are missing, or an option that sbatch does not take.
    """

    here = False

    def __init__(self, request: Request) -> None:
        super().__init__(replace(request, device="cpu"))  # this machine may have no GPU
        self.asked = replace(request, launcher="local", slurm=())
        self.options = parse_options(request.slurm)
        self.folder = request.out.resolve() / "slurm"
        self.cluster = str(self.options.get("cluster", "slurm"))
        if self.cluster not in CLUSTERS:
            raise unknown("cluster", self.cluster, CLUSTERS, "--slurm cluster")
        self.submitit = imported()
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise UsageError(
                "--launcher slurm: 'sbatch' is not on the PATH; run it on a login node of the cluster, "
                "or try it here with --slurm cluster=local"
            )

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        watcher, found = watchers[0], dict[str, Record]()
        jobs: dict[str, Any] = {}
        for number, cell in enumerate(cells):
            watcher.started(cell.label, number, len(cells))
            if (record := runner.finished(cell, anywhere=True)) is not None:
                found[cell.id] = record
                watcher.finished(cell.label, record, cached=True)
            elif cell.id not in jobs:
                jobs[cell.id] = self._attached(runner, cell) or self._submitted(runner, cell)
                watcher.stage(cell.label, f"job {jobs[cell.id].job_id}")
        waiting = {cell.id: cell for cell in cells if cell.id in jobs}
        while waiting:
            for cell in [one for one in waiting.values() if jobs[one.id].done()]:
                found[cell.id] = self._collected(runner, cell, jobs[cell.id])
                watcher.finished(cell.label, found[cell.id])
                del waiting[cell.id]
            time.sleep(POLL_SECONDS if waiting else 0)
        return [found[cell.id] for cell in cells]

    def interrupted(self) -> str:
        return f"the jobs go on. The same command collects them: {self.request.command}"

    # ------------------------------------------------------------------ one cell

    def _executor(self, wanted: Resources) -> Any:
        executor = self.submitit.AutoExecutor(
            folder=self.folder, cluster=self.cluster, slurm_max_num_timeout=TIME_LIMITS
        )
        executor.update_parameters(
            name="distillbench",
            cpus_per_task=wanted.cpus,
            gpus_per_node=wanted.gpus,
            mem_gb=wanted.memory_gib,
            timeout_min=wanted.minutes,
        )
        given = {f"slurm_{key}": value for key, value in self.options.items() if key not in OWN}
        try:
            executor.update_parameters(**given if self.cluster == "slurm" else {})
        except (NameError, TypeError, ValueError) as error:
            raise UsageError(f"--slurm: {str(error).splitlines()[0]}") from error
        return executor

    def _submitted(self, runner: Runner, cell: Cell) -> Any:
        wanted = resources(cell)
        request = replace(self.asked, threads=self.asked.threads or wanted.cpus)
        job = self._executor(wanted).submit(CellJob(request.to_json(), cell.id))
        folder = runner.store.cell_folder(cell.suite.id, cell.id)
        write_atomic(folder / "job.json", json.dumps({"cluster": self.cluster, "job": job.job_id}) + "\n")
        return job

    def _attached(self, runner: Runner, cell: Cell) -> Any:
        """The job that another command submitted for the cell, if it is in the queue or running."""
        path = runner.store.cell_folder(cell.suite.id, cell.id) / "job.json"
        if self.cluster != "slurm" or not path.is_file() or read_json(path).get("cluster") != self.cluster:
            return None
        job = self.submitit.SlurmJob(self.folder, str(read_json(path)["job"]), [0])
        return None if job.done(force_check=True) else job

    def _collected(self, runner: Runner, cell: Cell, job: Any) -> Record:
        error = job.exception()
        if error is None:
            return runner.record_of(cell)
        message = f"job {job.job_id} ({job.state}): {str(error).strip().splitlines()[-1]}"
        printed = (job.stderr() or "")[-2000:]
        return runner.lost(cell, Failure(stage="job", kind="killed", message=message, traceback=printed))


def resources(cell: Cell) -> Resources:
    """What a suite declares for a cell's method, else for all of its cells."""
    declared, gpu = cell.suite.resources, isinstance(cell.suite.protocol, PublishedProtocol)
    name = cell.method.cls.name if cell.method else "references"
    return declared.get(name) or declared.get("default") or Resources.usual(gpu=gpu)


def parse_options(given: Sequence[str]) -> Mapping[str, str | int]:
    """``key=value`` words; whole numbers become numbers.

    Raises:
        UsageError: a word without an equals sign.
    """
    found: dict[str, str | int] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--slurm {word!r}: expected key=value, such as --slurm partition=gpu")
        found[key.replace("-", "_")] = int(value) if value.isdecimal() else value
    return found


def imported() -> Any:
    """submitit.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            f"--launcher slurm: the package submitit is not usable here ({error}); "
            "pip install 'distillbench[slurm]'"
        ) from error
    return submitit
