"""Jobs of a cluster: what is asked for, what is collected, and what a job does; Slurm's tools are stubs."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from record_factory import record
from tiny import tiny_suite

from bench.cell import student_cells
from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.launchers import slurm
from bench.launchers.slurm import CellJob, Slurm, parse_options
from bench.methods import MethodRegistry
from bench.parts import Resources
from bench.progress import PlainReporter
from bench.record import Record, read_record, write_record
from bench.request import Request, resolve
from bench.store import Store
from bench.suite import load_suite
from bench.training import Training

SBATCH = """#!/bin/sh
n=$(ls {folder}/scripts | wc -l)
cp "$1" {folder}/scripts/$n.sh
echo "Submitted batch job $((100 + n))"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
cat {folder}/states
"""
SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/orders
"""


class Cluster:
    """Stubs of sbatch, sacct and scontrol: scripts and orders are kept, states are what a file says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        (folder / "bin").mkdir()
        self.states({})
        stubs = {"sbatch": SBATCH, "sacct": SACCT, "scontrol": SCONTROL, "srun": "#!/bin/sh\n"}
        for name, text in stubs.items():
            path = folder / "bin" / name
            path.write_text(text.format(folder=folder))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def states(self, of_jobs: dict[int, str]) -> None:
        lines = [f"{job}|{state}|node7" for job, state in of_jobs.items()]
        (self.folder / "states").write_text("\n".join(lines) + "\n")

    @property
    def scripts(self) -> list[str]:
        return [path.read_text() for path in sorted((self.folder / "scripts").iterdir())]


class Bench:
    """What the launcher needs of a runner."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.done: dict[str, Record] = {}

    def finished(self, cell, *, anywhere):  # type: ignore[no-untyped-def]
        assert anywhere
        return self.done.get(cell.id)

    def record_of(self, cell) -> Record:  # type: ignore[no-untyped-def]
        return read_record(self.store.cell_folder(cell.suite.id, cell.id) / "record.json")

    def lost(self, cell, failure) -> Record:  # type: ignore[no-untyped-def]
        return record("sid", [], seed=cell.seed, status="lost").model_copy(update={"failure": failure})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.01)
    from submitit.slurm.slurm import SlurmJob

    SlurmJob.watcher.clear()
    hurried = SimpleNamespace(time=count(0, 5).__next__, sleep=lambda seconds: None)
    monkeypatch.setattr("submitit.core.core._time", hurried)  # which waits for a slow file system
    return made


def cells(count: int, **resources: Resources):  # type: ignore[no-untyped-def]
    suite = load_suite("gmm2d").model_copy(update={"resources": resources})
    return student_cells(suite, MethodRegistry(), ("sid",), "quick", (1,), count)[0]


def launcher(tmp_path: Path, *options: str) -> Slurm:
    return Slurm(Request(suite="gmm2d", launcher="slurm", slurm=options, out=tmp_path / "runs"))


def result(tmp_path: Path, job: int, value: tuple[str, str]) -> None:
    """What submitit's job leaves behind."""
    import cloudpickle

    (tmp_path / "runs" / "slurm" / f"{job}_0_result.pkl").write_bytes(cloudpickle.dumps(value))


def test_one_job_a_cell_with_the_methods_resources_and_a_death_costs_one(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Resources(gpus=2, cpus=3, memory_gib=7, minutes=90)
    bench, todo = Bench(tmp_path / "runs"), cells(3, sid=one, default=Resources(minutes=1))
    for cell in todo:
        place = bench.store.cell_folder(cell.suite.id, cell.id) / "record.json"
        write_record(record("sid", seed=cell.seed), place)
    submit = Slurm._submitted

    def submitted(self, runner, cell):  # type: ignore[no-untyped-def]
        job = submit(self, runner, cell)
        if cell.seed != 1:
            result(tmp_path, int(job.job_id), ("success", "ok"))
        return job

    monkeypatch.setattr(Slurm, "_submitted", submitted)
    cluster.states({100: "COMPLETED", 101: "NODE_FAIL", 102: "COMPLETED"})
    said: list[str] = []
    records = launcher(tmp_path, "partition=gpu", "account=lab").run(
        bench, todo, [PlainReporter(said.append)]
    )  # type: ignore[arg-type]
    assert [one.status for one in records] == ["ok", "lost", "ok"]
    assert records[1].failure is not None and "job 101 (NODE_FAIL)" in records[1].failure.message
    assert len(cluster.scripts) == 3
    for flag in ("partition=gpu", "account=lab", "cpus-per-task=3", "gpus-per-node=2", "mem=7GB", "time=90"):
        assert f"#SBATCH --{flag}" in cluster.scripts[0]
    assert "signal=USR2@90" in cluster.scripts[0]  # a warning before the limit: submitit requeues
    told = json.loads((bench.store.cell_folder(todo[0].suite.id, todo[0].id) / "job.json").read_text())
    assert told == {"cluster": "slurm", "job": "100"}


def test_the_same_command_takes_up_jobs_that_still_run(tmp_path: Path, cluster: Cluster) -> None:
    bench, todo = Bench(tmp_path / "runs"), cells(2)
    first = launcher(tmp_path)
    (first.folder).mkdir(parents=True)
    for cell, job in zip(todo, (100, 101), strict=True):
        folder = bench.store.cell_folder(cell.suite.id, cell.id)
        (folder / "job.json").write_text(json.dumps({"cluster": "slurm", "job": str(job)}))
    cluster.states({100: "RUNNING", 101: "CANCELLED"})
    assert first._attached(bench, todo[0]).job_id == "100"  # type: ignore[arg-type]
    assert first._attached(bench, todo[1]) is None  # type: ignore[arg-type]


def test_finished_cells_are_not_submitted(tmp_path: Path, cluster: Cluster) -> None:
    bench, todo = Bench(tmp_path / "runs"), cells(2)
    bench.done = {cell.id: record("sid", seed=cell.seed) for cell in todo}
    records = launcher(tmp_path).run(bench, todo, [PlainReporter(lambda line: None)])  # type: ignore[arg-type]
    assert [one.seed for one in records] == [0, 1] and cluster.scripts == []


def test_a_job_takes_its_cell_to_a_record_and_says_how_to_go_on(
    tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from submitit.helpers import DelayedSubmission

    request = Request(
        suite=str(tiny_suite(tmp_path)), methods=("sid",), nfe=(1,), references=False, out=tmp_path / "runs",
        device="cpu",
    )  # fmt: skip
    (cell,) = resolve(request)[1]
    job = CellJob(request.to_json(), cell.id)
    again = job.checkpoint()
    assert isinstance(again, DelayedSubmission) and again.function == job
    assert job() == "ok"
    assert read_record(next((tmp_path / "runs").glob("*/*/record.json"))).cell == cell.id
    other = CellJob(job.request, "0" * 16)
    with pytest.raises(BenchError, match=r"expected 0{16}: a file was changed during the run"):
        other()


@pytest.fixture
def in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Runs what a job of the cluster would, in this process; signals have their handlers again at the end."""
    from submitit.core.submission import process_job

    def work(job: int) -> None:
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
        monkeypatch.setenv("SLURM_JOB_ID", str(job))
        process_job(tmp_path / "runs" / "slurm")

    known = {one: signal.getsignal(one) for one in (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)}
    yield work
    for one, handler in known.items():
        signal.signal(one, handler)


def test_a_job_at_its_time_limit_is_put_back_and_goes_on_from_its_checkpoint(
    tmp_path: Path, cluster: Cluster, in_a_job: Callable[[int], None], one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The signal that Slurm sends before the limit comes in the middle of the training."""
    from submitit.core.utils import DelayedSubmission

    minute = {"[protocol]": "[resources.default]\nminutes = 1\n\n[protocol]"}
    request = Request(
        suite=str(tiny_suite(tmp_path, **minute)), methods=("sid",), nfe=(1,), references=False, device="cpu",
        launcher="slurm", threads=1, out=tmp_path / "runs",
    )  # fmt: skip
    iterations: list[int] = []
    iterate, submit = Training.iterate, Slurm._submitted

    def iterated(self: Training) -> dict[str, float]:
        iterations.append(self.context.iteration)
        if len(iterations) == 6:
            signal.raise_signal(signal.SIGUSR2)
        return iterate(self)

    def submitted(self, runner, cell):  # type: ignore[no-untyped-def]
        job = submit(self, runner, cell)
        with pytest.raises(SystemExit):
            in_a_job(100)
        assert (tmp_path / "orders").read_text() == "requeue 100\n" and not job.paths.result_pickle.exists()
        assert DelayedSubmission.load(job.paths.submitted_pickle)._timeout_countdown == slurm.TIME_LIMITS - 1
        in_a_job(100)  # as Slurm does when its turn comes again
        return job

    monkeypatch.setattr(Training, "iterate", iterated)
    monkeypatch.setattr(Slurm, "_submitted", submitted)
    cluster.states({100: "COMPLETED"})
    _, todo, _ = resolve(request)
    bench = Bench(tmp_path / "runs")
    (found,) = Slurm(request).run(bench, todo, [PlainReporter(lambda line: None)])  # type: ignore[arg-type]
    assert found.status == "ok" and found.cost is not None
    last = found.cost.iterations
    first = iterations[6]
    assert 0 < first <= 5 and iterations == [*range(6), *range(first, last)]


@pytest.mark.slow
def test_the_local_cluster_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--suite", str(tiny_suite(tmp_path)), "--method", "sid", "--nfe", "1", "--no-references"]
    words += [
        "--out",
        str(tmp_path / "runs"),
        "--launcher",
        "slurm",
        "--slurm",
        "cluster=local",
        "--threads",
        "1",
    ]
    assert main(words) == 0
    assert re.search(r"sid +1 ", capsys.readouterr().out)
    assert main(words) == 0  # collected, not run again
    assert "already done" in capsys.readouterr().out


def test_options_are_words_of_sbatch() -> None:
    assert parse_options(("partition=gpu", "time-min=30", "comment=a=b")) == {
        "partition": "gpu",
        "time_min": 30,
        "comment": "a=b",
    }
    with pytest.raises(UsageError, match=r"--slurm 'gpu': expected key=value"):
        parse_options(("gpu",))


BAD = {
    ("--launcher", "slurn"): "--launcher: unknown launcher 'slurn'; did you mean 'slurm'?",
    ("--launcher", "slurm"): "--launcher slurm: 'sbatch' is not on the PATH",
    ("--launcher", "slurm", "--slurm", "cluster=locl"): "unknown cluster 'locl'; did you mean 'local'?",
    ("--launcher", "slurm", "--jobs", "2"): "--jobs 2: packs cells on this machine",
    ("--slurm", "partition=gpu"): "--slurm partition=gpu: give it with --launcher slurm",
    ("--jobs", "0"): "--jobs",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_sentence(
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["run", "--suite", "gmm2d", "--out", str(tmp_path / "runs"), *words]) == 2
    assert BAD[words] in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_option_that_sbatch_does_not_take(tmp_path: Path, cluster: Cluster) -> None:
    bench, todo = Bench(tmp_path / "runs"), cells(1)
    with pytest.raises(UsageError, match=r"--slurm: .*partitoin"):
        launcher(tmp_path, "partitoin=gpu").run(bench, todo, [PlainReporter(lambda line: None)])  # type: ignore[arg-type]
    assert cluster.scripts == []


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(UsageError, match=r"pip install 'distillbench\[slurm\]'"):
        launcher(tmp_path)
