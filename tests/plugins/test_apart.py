"""Plugin cells in processes of their own, through the real command line: each trouble costs its own cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import MISBEHAVING, tiny_suite

from bench.cli import main
from bench.meter import Meter
from bench.record import Record, read_record

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = {"work = 9_000": "work = 2_000"}

TROUBLES = (
    MISBEHAVING
    + """
import os
import sys


def now(method):
    return method.context.iteration == 2


class Leaves(Base):
    name = "leaves"

    def trouble(self, loss):
        if now(self):
            os._exit(0)
        return {"loss": loss.detach()}


class Exits(Base):
    name = "exits"

    def trouble(self, loss):
        if now(self):
            sys.exit("bye")
        return {"loss": loss.detach()}


class Dies(Base):
    name = "dies"

    def trouble(self, loss):
        if now(self):
            os.kill(os.getpid(), 9)
        return {"loss": loss.detach()}


class Deaf(Base):
    name = "deaf"

    def trouble(self, loss):
        import signal
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while now(self):
            time.sleep(1)
        return {"loss": loss.detach()}


class Leaks(Base):
    name = "leaks"
    kept = []

    def trouble(self, loss):
        self.kept.append(torch.empty(300_000_000))
        return {"loss": loss.detach()}


class Shouts(Base):
    name = "shouts"

    def trouble(self, loss):
        if now(self):
            print("x" * 3_000_000)
        return {"loss": loss.detach()}


class Retypes(Base):
    name = "retypes"

    def trouble(self, loss):
        torch.set_default_dtype(torch.float64)
        return {"loss": loss.detach()}


class Threads(Base):
    name = "threads"

    def trouble(self, loss):
        torch.set_num_threads(3)
        return {"loss": loss.detach()}


class Patches(Base):
    name = "patches"

    def trouble(self, loss):
        from bench.meter import Meter
        charge = Meter.charge
        if now(self):
            Meter.charge = lambda self, role, samples, cost, **k: charge(self, role, 1, cost, **k)
        return {"loss": loss.detach()}


class Forges(Base):
    name = "forges"

    def trouble(self, loss):
        from bench.evaluation import PointsEvaluator
        PointsEvaluator.score = lambda self, samples, seed: dict.fromkeys(
            ["swd", "energy", "fd", "within", "smallest_mode"], 0.0
        )
        return {"loss": loss.detach()}


class HangsInSampling(Base):
    name = "hangs_in_sampling"

    @classmethod
    def generator(cls, students, config, space):
        while True:
            time.sleep(1)
"""
)

EXPECTED = {
    "raises": ("failed", "distil", "RuntimeError", "no such luck"),
    "leaves": ("lost", "distil", "exit", "left with status 0 and no record"),
    "exits": ("failed", "distil", "SystemExit", "SystemExit: bye"),
    "dies": ("lost", "distil", "killed", "died of signal 9"),
    "hangs": ("timeout", "distil", "StepTimeout", "iteration 2 ran longer than 1 s"),
    "deaf": ("timeout", "distil", "hung", "no progress in distil"),
    "hangs_in_sampling": ("timeout", "sample", "hung", "no progress in sample"),
    "leaks": ("failed", "distil", "out of memory", ""),
    "retypes": ("failed", "distil", "Meddled", "the method changed torch's default dtype"),
    "threads": ("failed", "distil", "Meddled", "the method changed torch's number of threads"),
    "patches": ("failed", "distil", "Meddled", "the method changed bench.meter.Meter.charge"),
    "forges": ("failed", "record", "not believed", "but these samples score"),
}


def run(folder: Path, plugin: Path, *words: str, **edits: str) -> int:
    suite = str(tiny_suite(folder, **{**QUICK, **edits}))
    given = ["--suite", suite, "--no-references", "--plugin", str(plugin), "--nfe", "1", *words]
    return main(["run", *given, "--out", str(folder / "runs")])


def records(folder: Path) -> dict[str, Record]:
    found = [read_record(path) for path in sorted(folder.glob("runs/*/*/record.json"))]
    return {record.label: record for record in found}


def values(record: Record) -> object:
    """What must come out the same in another process."""
    rows = [row.model_copy(update={"latency": None}) for row in record.rows]
    cost = record.cost and record.cost.model_copy(update={"seconds": 0.0})
    made = record.provenance.model_copy(update={"created": ""})
    return rows, record.curve, cost, record.cell, record.status, made


def test_apart_or_not_the_record_is_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, words in (("apart", ()), ("here", ("--no-isolate",))):
        (tmp_path / name).mkdir()
        plugin = tmp_path / "shouting.py"
        plugin.write_text(TROUBLES)
        assert run(tmp_path / name, plugin, "--method", "shouts", *words) == 0
    assert values(records(tmp_path / "apart")["shouts"]) == values(records(tmp_path / "here")["shouts"])
    shouted = capfd.readouterr().out.count("x" * 1000)
    assert shouted == 3000, "once, by the one that ran here"
    (output,) = tmp_path.glob("apart/runs/*/*/output.txt")
    assert 300_000 < output.stat().st_size < 400_000 and b"bytes left out" in output.read_bytes()
    (status,) = tmp_path.glob("apart/runs/*/*/status.json")
    assert json.loads(status.read_text()) == {"status": "ok", "stage": "record"}


@pytest.mark.slow
def test_every_trouble_costs_its_own_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.plugins.apart.GRACE_SECONDS", 100.0)
    monkeypatch.setattr("bench.plugins.apart.BLOCK_STEPS", 1.0)
    plugin = tmp_path / "troubles.py"
    plugin.write_text(TROUBLES)
    before = torch.get_default_dtype(), torch.get_num_threads(), Meter.charge.__code__
    methods = [word for name in (*EXPECTED, "good") for word in ("--method", name)]
    step = {"work = 9_000": "work = 2_000\nstep_seconds = 1"}
    assert run(tmp_path, plugin, *methods, "--plugin-memory", "2500", **step) == 1
    table, found = capsys.readouterr().out, records(tmp_path)
    for name, (status, stage, kind, message) in EXPECTED.items():
        failure = found[name].failure
        assert failure is not None, name
        assert (name, found[name].status, failure.stage, failure.kind) == (name, status, stage, kind)
        assert message in failure.message and not found[name].rows
        assert any(f"{name}: {status} in {stage}" in line for line in table.splitlines())
    assert found["good"].status == "ok"
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), Meter.charge.__code__)


@pytest.mark.slow
def test_a_trouble_alone_does_not_change_the_next_cell(tmp_path: Path) -> None:
    plugin = tmp_path / "troubles.py"
    plugin.write_text(TROUBLES)
    for name, methods in (("after", ("retypes", "patches", "good")), ("alone", ("good",))):
        (tmp_path / name).mkdir()
        run(tmp_path / name, plugin, *(word for method in methods for word in ("--method", method)))
    assert values(records(tmp_path / "after")["good"]) == values(records(tmp_path / "alone")["good"])
