"""The state of runs as another terminal sees it, and what a person sees while they run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from record_factory import record
from tiny import MISBEHAVING, tiny_suite

from bench.cli import main
from bench.progress import LiveReporter, PlainReporter, eta


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    plugin = folder / "misbehaving.py"
    plugin.write_text(MISBEHAVING)
    words = [
        "--plugin",
        str(plugin),
        "--method",
        "good",
        "--method",
        "raises",
        "--no-references",
        "--no-isolate",
    ]
    assert main(["run", "--suite", str(tiny_suite(folder)), *words, "--out", str(folder / "runs")]) == 1
    return folder / "runs"


def cell(runs: Path, label: str) -> Path:
    specs = runs.glob("*/*/spec.json")
    return next(p.parent for p in specs if json.loads(p.read_text())["cell"]["label"] == label)


def test_a_runs_folder_lists_its_cells(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(runs)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert any("ok" in line and "good, standard, seed 0" in line for line in lines)
    assert any("failed" in line and "raises" in line for line in lines)


def test_a_cell_tells_state_events_and_places(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(cell(runs, "good"))]) == 0
    out = capsys.readouterr().out
    assert "state: ok, stage record" in out and '"event": "finished"' in out
    assert str(runs / "stages" / "distil") in out
    assert main(["info", str(cell(runs, "raises"))]) == 0
    assert "no such luck" in capsys.readouterr().out


def test_a_running_cell_can_be_looked_at(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cell(runs, "good")
    (folder / "record.json").rename(folder / "kept")
    (folder / "status.json").write_text('{"status": "running", "stage": "distil"}')
    assert main(["info", str(folder)]) == 0
    assert "state: running, stage distil" in capsys.readouterr().out
    (folder / "status.json").write_text("{")
    assert main(["info", str(folder)]) == 2
    assert "status.json: not readable" in capsys.readouterr().err
    (folder / "kept").rename(folder / "record.json")


def test_an_empty_folder_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path)]) == 2
    assert "not a record, a suite file or a run's folder" in capsys.readouterr().err


def test_plain_lines_say_share_time_left_and_scalars(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    reporter = PlainReporter(said.append)
    clock = iter([0.0, 0.0, 10.0, 20.0, 40.0])
    monkeypatch.setattr("bench.progress.time.monotonic", lambda: next(clock))
    reporter.started("sid", 1, 3)
    report = reporter.training("sid")
    report(0.0, {"loss": 1.0})
    report(0.25, {"loss": 0.5})  # too soon after the last line
    report(0.5, {"loss": 0.25})
    reporter.finished("sid", record())
    assert said[0].startswith("[2/3] sid:  50% of the budget, 0:") and "loss 0.25" in said[0]
    assert len(said) == 2


def test_time_left() -> None:
    assert eta(0.5, 0.5, 60) == "1:00" and eta(0, 1, 60) == "unknown time"


def test_live_tree_draws_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LiveReporter()
    reporter.started("sid", 0, 1)
    reporter.stage("sid", "distil")
    reporter.training("sid")(0.5, {})
    reporter.finished("sid", record())
    reporter.close()
    captured = capsys.readouterr()
    assert "sid" in captured.err + captured.out
