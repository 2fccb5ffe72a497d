"""``bench run --shard``: what it refuses, what its records say, and that it goes on after a loss."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from test_processes import INSTANT, by_label, environment, words_of
from test_spread import cell_of

from bench.cell import reference_cells
from bench.cli import main
from bench.errors import UsageError
from bench.lab import Lab
from bench.launchers.registry import find_launcher
from bench.progress import PlainReporter
from bench.provenance import provenance
from bench.record import parse_record
from bench.request import Request
from bench.stages import Bench, surroundings
from bench.store import Store
from bench.suite import load_suite

BAD = {
    (): "--shard: shares the weights of a training out over several processes, and this is one; add",
    ("--jobs", "2"): "and this is one; add --launcher torchrun, or start the command with torchrun",
    ("--launcher", "slurm"): "and this is one; add --launcher torchrun",
    ("--launcher", "torchrun", "--processes", "1"): "--shard: --processes is 1, expected at least 2",
    ("--launcher", "torchrun", "--compile"): "which --compile cannot trace; leave one of the two away",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--suite", "gmm2d", "--shard", "--out", str(tmp_path / "runs"), *words]) == 2
    said = capsys.readouterr().err
    assert BAD[words] in said and said.count("\n") == 1


def test_one_process_of_torchrun_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UsageError, match="over several processes, and this is one"):
        find_launcher(Request("gmm2d", sharded=True))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert find_launcher(Request("gmm2d", sharded=True, device="cpu")).request.sharded


def test_the_record_says_so_and_old_ones_are_read(tmp_path: Path) -> None:
    lab = Lab.open(load_suite("gmm2d"))
    cell, (solver, *_) = cell_of("sid", lab), reference_cells(lab.suite, "quick")
    assert provenance(lab, cell, 2, sharded=True).sharded and not provenance(lab, cell, 2).sharded
    assert not provenance(lab, solver, 2, sharded=True).sharded
    old = next(Path("leaderboards/records/gmm2d").glob("sid.*.json"))
    assert '"sharded"' not in old.read_text()
    assert not parse_record(old.read_bytes(), str(old)).provenance.sharded
    bench = Bench(lab, Store(tmp_path), PlainReporter(lambda line: None), "bench run")
    # as with the number of processes, sums are rounded otherwise and the training is the same one
    assert surroundings(bench) == surroundings(replace(bench, processes=2, sharded=True))


def started(folder: Path, runs: Path) -> tuple[list[str], subprocess.Popen[str]]:
    """A sharded run, as soon as it has written a checkpoint."""
    words = words_of(folder, "--out", str(runs))
    run = subprocess.Popen(
        [sys.executable, "-m", "bench", *words, "--launcher", "torchrun", "--shard"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while not list(runs.glob("stages/distil/*/checkpoint-*")):
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.05)
    return words, run


def ranks_of(run: int) -> list[int]:
    """The processes that torchrun started for a run."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid, parent in parents.items() if parents.get(parent) == run]


@pytest.mark.slow
def test_it_goes_on_after_the_loss_of_a_rank(tmp_path: Path) -> None:
    _, run = started(tmp_path, tmp_path / "runs")
    os.kill(max(ranks_of(run.pid)), signal.SIGKILL)
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 1, said  # one method cannot be done in shards
    records = by_label(tmp_path / "runs")
    made, refused = records["sid"], records[INSTANT]
    assert made.status == "ok" and made.provenance.sharded and made.provenance.processes == 2
    assert refused.status == "failed" and refused.failure is not None
    assert refused.failure.message.startswith("--shard: this method differentiates a network in forward mode")
    assert main([*words_of(tmp_path, "--out", str(tmp_path / "alone")), "--device", "cpu"]) == 0
    whole = by_label(tmp_path / "alone")["sid"]
    for one, other in zip(made.rows, whole.rows, strict=True):
        for key, value in other.metrics.items():
            assert one.metrics[key].mean == pytest.approx(value.mean, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began_in_shards(tmp_path: Path) -> None:
    words, two = started(tmp_path, tmp_path / "runs")
    ranks = ranks_of(two.pid)  # torchrun gives each a session of its own
    os.killpg(two.pid, signal.SIGKILL)
    for rank in ranks:
        os.kill(rank, signal.SIGKILL)
    two.communicate()
    assert main([*words, "--device", "cpu"]) == 0
    found = by_label(tmp_path / "runs")["sid"]
    assert found.status == "ok" and found.notes == ["trained by 2, then by 1 processes"]
    assert not found.provenance.sharded
