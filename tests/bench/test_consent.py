"""The question before a day of the device: asked when it must be, never in vain, with a way to spend less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_suite

import bench.launch
import bench.launchers.launcher
from bench.cli import main
from bench.cost import consent as module
from bench.cost.calibration import Calibration

HUGE = {"work = 4_000_000": "work = 1_000_000_000_000_000"}  # the quick budget, beyond a day on anything


class Started(Exception):
    """The run would have begun."""


@pytest.fixture
def stopped(monkeypatch):
    """Nothing runs: the cells that would are kept, with what was predicted for them."""
    seen = {}

    def run_cells(runner, cells, **_):
        seen.update(cells=cells, predicted=runner.predicted)
        raise Started

    monkeypatch.setattr(bench.launchers.launcher, "run_cells", run_cells)
    return seen


@pytest.fixture
def slow(monkeypatch):
    """A machine of a million units a second, so that the huge budget takes 32 years."""
    timed = []

    def calibrate(net, space, flops, sizes, device):
        timed.append(set(sizes))
        return Calibration("cpu, 7 threads", dict.fromkeys(sizes, 1e6), "")

    monkeypatch.setattr(module, "calibrate", calibrate)
    return timed


def run(folder: Path, *arguments: str, edits: dict[str, str] | None = None) -> int:
    suite = tiny_suite(folder, **(HUGE if edits is None else edits))
    words = ["run", "--suite", str(suite), "--method", "sid", "--budget", "quick", "--nfe", "1"]
    return main([*words, "--out", str(folder / "runs"), "--device", "cpu", *arguments])


def no_terminal(monkeypatch, answer=None):
    monkeypatch.setattr(module.sys, "stdin", type("In", (), {"isatty": lambda self: answer is not None})())
    asked = []
    monkeypatch.setattr(module.typer, "confirm", lambda text, err: asked.append(text) or answer)
    return asked


def test_without_a_terminal_it_is_refused_with_the_estimate_and_the_ways_out(
    tmp_path, monkeypatch, capsys, slow, stopped
):
    no_terminal(monkeypatch)
    assert run(tmp_path) == 2
    err = capsys.readouterr().err
    assert "this run would take about 31.7 years of this machine (cpu, 7 threads)" in err
    for word in ("--budget", "--method", "--nfe", "--seeds", "--smoke", "bench plan", "add --yes", "FLOP"):
        assert word in err
    assert err.count("\n") == 1 and not stopped
    assert not list((tmp_path / "runs").rglob("spec.json"))  # nothing was begun


def test_yes_starts_it_and_predicts(tmp_path, monkeypatch, capsys, slow, stopped):
    asked = no_terminal(monkeypatch)
    assert run(tmp_path, "--yes") == 1 and "Started" in capsys.readouterr().err
    sid = next(cell for cell in stopped["cells"] if cell.label == "sid")
    assert stopped["predicted"][sid.id] == pytest.approx(1e9, rel=1e-3) and not asked
    assert slow == [{64, 32}]  # batches of the protocol and of the preset


@pytest.mark.parametrize(("answer", "status"), [(True, 1), (False, 2)])
def test_a_person_is_asked(tmp_path, monkeypatch, capsys, slow, stopped, answer, status):
    asked = no_terminal(monkeypatch, answer)
    assert run(tmp_path) == status
    assert len(asked) == 1 and asked[0].endswith("Start it?") and "31.7 years" in asked[0]
    assert ("Started" if answer else "error: not started") in capsys.readouterr().err
    assert bool(stopped) == answer


def test_a_smoke_run_is_never_asked_about(tmp_path, monkeypatch, capsys, slow, stopped):
    no_terminal(monkeypatch)
    assert run(tmp_path, "--smoke") == 1 and "Started" in capsys.readouterr().err
    assert slow == []


def test_a_day_is_the_limit(tmp_path, monkeypatch, capsys, stopped, slow):
    no_terminal(monkeypatch)
    for work, status in ((80_000_000_000, 1), (95_000_000_000, 2)):  # 22 h and 26 h at a million a second
        assert run(tmp_path, edits={"work = 4_000_000": f"work = {work}"}) == status
    assert len(slow) == 2 and "26" in capsys.readouterr().err


def test_a_short_run_is_not_even_timed(tmp_path, monkeypatch, capsys, slow, stopped):
    no_terminal(monkeypatch)
    assert run(tmp_path, edits={}) == 1 and "Started" in capsys.readouterr().err
    assert slow == [] and stopped["predicted"] == {}


def test_finished_cells_are_free(tmp_path, monkeypatch, capsys, one_thread):
    """Cells on disk do not count; one whose making changed does again."""
    left = []

    def consent(lab, cells, *, agreed):
        left.append([cell.label for cell in cells])
        return {cell.id: 12.5 for cell in cells if cell.label == "euler"}

    monkeypatch.setattr(bench.launch, "consent", consent)
    arguments = ("--no-students",)
    assert run(tmp_path, *arguments, edits={}) == 0
    assert "note: predicted 0:12, took " in capsys.readouterr().out
    assert run(tmp_path, *arguments, edits={}) == 0
    assert "note: predicted" not in capsys.readouterr().out  # nothing was run
    assert "euler" in left[0] and left[1] == []
    spec = next(p for p in (tmp_path / "runs").glob("*/*/spec.json") if '"euler"' in p.read_text())
    events = [json.loads(line) for line in (spec.parent / "events.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "finished" and events[-1]["predicted_seconds"] == 12.5
    assert 0 < events[-1]["seconds"] < 600
    spec.write_text(spec.read_text().replace('"training"', '"other"'))
    assert run(tmp_path, *arguments, edits={}) == 0
    assert left[2] == ["euler"]
    other = next(p for p in (tmp_path / "runs").glob("*/*/spec.json") if '"real"' in p.read_text())
    assert "predicted_seconds" not in (other.parent / "events.jsonl").read_text()
