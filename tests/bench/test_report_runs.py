"""The state of runs as another terminal sees it, and what a person sees while they run."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path

import pytest
from record_factory import record
from tiny import MISBEHAVING, tiny_suite

from bench.cli import main
from bench.events import Events, Heartbeat, write_status
from bench.progress import LiveReporter, PlainReporter, eta
from bench.report.plot import Style, plot
from bench.report.run_curves import progress
from bench.store import locked


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
    assert len(lines) > 10 and "swd, 1 step" in lines  # its curves
    assert any("ok" in line and "good, standard, seed 0" in line for line in lines)
    assert any("failed" in line and "raises" in line for line in lines)


def test_a_cell_tells_state_events_and_places(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(cell(runs, "good"))]) == 0
    out = capsys.readouterr().out
    assert "swd, 1 step" in out and "training work" in out and "●" in out and "\x1b" not in out
    assert "state: ok, stage record" in out and '"event": "finished"' in out
    assert str(runs / "stages" / "distil") in out
    assert main(["info", str(cell(runs, "raises"))]) == 0
    assert "no such luck" in capsys.readouterr().out


@pytest.fixture
def training(runs: Path, tmp_path: Path) -> Path:
    """The folder of a cell as it is while it trains."""
    folder = tmp_path / "gmm2d@1.0" / "cell"
    shutil.copytree(cell(runs, "good"), folder, ignore=shutil.ignore_patterns("record.json"))
    write_status(folder, "running", "distil", 0.41)
    return folder


def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["info", str(folder)]) == 0
    return capsys.readouterr().out


def test_a_running_cell_can_be_looked_at(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(training):
        out = told(training, capsys)
        assert "state: running, stage distil, 41% of the budget, last sign of life 0 s ago, process " in out
        assert "loss" in out and "share of the budget" in out and "latest: loss" in out
        line = told(training.parents[1], capsys)
        assert "running" in line and "41% of the budget" in line and "killed" not in line
    os.utime(training / "events.jsonl", (1, 1))
    old = time.time() - 300
    os.utime(training / "status.json", (old, old))
    out = told(training, capsys)
    assert "last sign of life 5 min ago, no process holds its lock: it was killed" in out
    assert "killed" in told(training.parents[1], capsys)
    (training / "status.json").write_text("{")
    assert main(["info", str(training)]) == 2
    assert "status.json: not readable" in capsys.readouterr().err


def test_a_training_tells_its_share(runs: Path) -> None:
    curve = progress(cell(runs, "good"))["loss"]
    shares = [share for share, _ in curve]
    assert len(curve) > 10 and shares == sorted(shares) and shares[-1] >= 0.9


def test_a_later_attempt_replaces_what_it_repeats(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    for share, loss in ((0.1, 1.0), (0.2, 2.0), (0.3, 3.0), (0.2, 5.0), (0.4, 4.0)):
        events.write("progress", share=share, scalars={"loss": loss})
    with events.path.open("a") as stream:
        stream.write('{"event": "progr')  # killed while it wrote
    assert progress(tmp_path) == {"loss": [(0.1, 1.0), (0.2, 5.0), (0.4, 4.0)]}


def test_heartbeat_spares_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("bench.events.time.monotonic", lambda: next(clock) * 0.1)
    heard: list[float] = []
    beat = Heartbeat(tmp_path, Events(tmp_path / "events.jsonl"), lambda share, scalars: heard.append(share))
    for i in range(1000):
        beat(i / 1000, {"loss": 1.0})
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(heard) == 1000 and 90 <= len(lines) <= 101
    assert json.loads((tmp_path / "status.json").read_text())["share"] == 0.95  # the last of 20 beats


def test_events_are_those_that_are_documented(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    for kind, values in (("stge", {}), ("stage", {}), ("stage", {"stage": "distil", "more": 1})):
        with pytest.raises(ValueError, match="not one of those in KINDS"):
            events.write(kind, **values)
    assert not events.path.exists()


def test_pictures_of_a_run(runs: Path, training: Path, tmp_path: Path) -> None:
    assert main(["info", str(runs), "--png", str(tmp_path / "all")]) == 0
    found = {path.name for path in (tmp_path / "all").iterdir()}
    assert {name.partition("-")[2] for name in found} == {"curves.png", "samples.png"}
    assert main(["info", str(training), "--png", str(tmp_path / "one")]) == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["gmm2d@1.0-training.png"]
    for path in (*(tmp_path / "all").iterdir(), *(tmp_path / "one").iterdir()):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_pictures_want_a_run(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "gmm2d", "--png", str(tmp_path)]) == 2
    assert "expected the folder of a cell or of runs" in capsys.readouterr().err
    assert main(["info", str(cell(runs, "raises")), "--png", str(tmp_path)]) == 2
    assert "no curve and no samples there yet" in capsys.readouterr().err


def test_plots_show_ends_and_legend() -> None:
    lines = {"a": [(1.0, 10.0), (100.0, 1.0)], "b\x1b[31m": [(1.0, 1.0), (100.0, 10.0)]}
    drawn = plot("fall", "work", lines, Style(width=20, height=5))
    assert drawn[0] == "fall (log)" and drawn[1].startswith("10 │●") and drawn[1].endswith("▲")
    assert drawn[5].startswith(" 1 │▲") and drawn[5].endswith("●")
    assert drawn[6].split() == ["1", "work", "100"] and drawn[7] == "  ● a   ▲ b[31m"
    ascii_ = "\n".join(plot("fall", "work", lines, Style(width=20, height=5, unicode=False)))
    assert ascii_.isascii() and "\x1b[" in "\n".join(plot("fall", "work", lines, Style(colour=True)))


def test_plots_leave_out_what_cannot_be_drawn() -> None:
    assert plot("none", "work", {"a": [(1.0, math.nan)], "b": []}, Style()) == []
    flat = plot("flat", "work", {"a": [(0.0, 2.0), (1.0, 2.0)]}, Style(height=3), log=False)
    assert flat[0] == "flat" and "●" in flat[3]
    many = {str(i): [(1.0, float(i))] for i in range(1, 12)}
    assert plot("many", "work", many, Style())[-1] == "  and 3 more, not drawn"


def test_an_empty_folder_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path)]) == 2
    assert "not a record, a suite file or a run's folder" in capsys.readouterr().err


def test_plain_lines_say_share_time_left_and_scalars(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    reporter = PlainReporter(said.append, "fd")
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


def test_a_finished_cell_is_told_by_the_metric_that_ranks_in_whatever_order_they_come() -> None:
    said: list[str] = []
    done = record()
    for metrics in (done.rows[0].metrics, dict(reversed(done.rows[0].metrics.items()))):
        row = done.rows[0].model_copy(update={"metrics": metrics})
        assert len(metrics) > 1 and row.steps == 1
        PlainReporter(said.append, "swd").finished("sid", done.model_copy(update={"rows": [row]}))
    assert len(set(said)) == 1 and said[0].endswith(f"sid: ok: 1 steps swd {row.metrics['swd'].mean:.4g}")


def test_time_left() -> None:
    assert eta(0.5, 0.5, 60) == "1:00" and eta(0, 1, 60) == "unknown time"


def test_live_tree_draws_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LiveReporter("swd")
    reporter.started("sid", 0, 1)
    reporter.stage("sid", "distil")
    reporter.training("sid")(0.5, {})
    reporter.finished("sid", record())
    reporter.close()
    captured = capsys.readouterr()
    assert "sid" in captured.err + captured.out
