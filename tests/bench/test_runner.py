"""Whole runs through the real command line, on a suite shrunk to seconds: results, resume, failures."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny import MISBEHAVING, tiny_suite

import bench
from bench.cli import main
from bench.record import Record, read_record

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "misbehaving.py"
    path.write_text(MISBEHAVING)
    return path


def run(suite: Path, out: Path, *words: str) -> int:
    return main(["run", "--suite", str(suite), "--out", str(out), "--no-isolate", *words])


def records(out: Path) -> dict[str, Record]:
    found = [read_record(path) for path in sorted(out.glob("*/*/record.json"))]
    return {record.label: record for record in found}


def values(record: Record) -> object:
    """What must come out the same: everything but times and dates."""
    rows = [row.model_copy(update={"latency": None}) for row in record.rows]
    cost = record.cost and record.cost.model_copy(update={"seconds": 0.0})
    return rows, record.curve, cost, record.cell, record.status


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run of SiD and PD with all references."""
    folder = tmp_path_factory.mktemp("finished")
    torch.set_num_threads(1)
    assert run(tiny_suite(folder), folder / "runs", "--method", "sid", "--method", "pd") == 0
    return folder


def test_a_run_records_every_cell(finished: Path) -> None:
    found = records(finished / "runs")
    assert {"real", "mode-means", "collapsed", "teacher[heun]", "euler", "heun", "dpmpp_2m"} < set(found)
    assert {record.status for record in found.values()} == {"ok"}
    sid, progressive = found["sid"], found["progressive"]
    assert [row.steps for row in sid.rows] == [1]
    assert [row.steps for row in progressive.rows] == [1, 2, 4, 8]
    assert sid.provenance.teacher_form == "exact"
    assert sid.needs == [] and progressive.needs == ["data"]


def test_nfe_is_counted_while_sampling(finished: Path) -> None:
    found = records(finished / "runs")
    assert [row.nfe for row in found["progressive"].rows] == [1, 2, 4, 8]
    assert found["progressive"].rows[2].nfe_by_role == {"student": 4.0}
    assert [(row.steps, row.nfe_by_role) for row in found["teacher[heun]"].rows] == [(7, {"teacher": 7.0})]
    assert found["real"].rows[0].nfe == 0


def test_budget_is_obeyed_and_overshoot_is_one_iteration(finished: Path) -> None:
    for label, per_sample in (("sid", 11), ("progressive", 5)):
        cost = records(finished / "runs")[label].cost
        assert cost is not None
        assert cost.work - cost.overshoot == pytest.approx(cost.budget)
        assert 0 <= cost.overshoot < 32 * per_sample
        assert cost.work == cost.iterations * 32 * per_sample
        assert cost.images == cost.iterations * 32


def test_a_ladder_reports_the_work_up_to_each_row(finished: Path) -> None:
    rows = {row.steps: row.work for row in records(finished / "runs")["progressive"].rows}
    assert 0 < rows[8] < rows[4] < rows[2] < rows[1]


def test_curve_starts_untrained_and_ends_with_the_budget(finished: Path) -> None:
    sid = records(finished / "runs")["sid"]
    assert sid.curve[0].work == 0 and sid.curve[-1].work == sid.cost.work
    assert [point.work for point in sid.curve] == sorted(point.work for point in sid.curve)


def test_a_second_run_finds_everything_done(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*.safetensors")}
    assert run(finished / "tiny.toml", finished / "runs", "--method", "sid", "--method", "pd") == 0
    assert "already done" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*.safetensors")}


def test_row_can_be_loaded_and_sampled(finished: Path) -> None:
    paths = finished.glob("runs/*/*/record.json")
    folder = next(path.parent for path in paths if read_record(path).label == "progressive")
    stored = json.loads((folder / "stages.json").read_text())["samples-4"]
    expected = load_file(finished / "runs" / stored / "samples.safetensors")["samples"]
    # the tiny suite is no shipped one: load by hand what bench.load would look up by name
    from bench.api import last_snapshot
    from bench.lab import Lab
    from bench.meter import Meter, metered
    from bench.sampling import draw_samples
    from bench.suite import load_suite
    from bench.training import Snapshot

    lab = Lab.open(load_suite("gmm2d"))
    from baselines.progressive import PDConfig, ProgressiveDistillation

    students = metered(Snapshot(last_snapshot(folder), lab.entry.build).students, Meter())
    generator = ProgressiveDistillation.generator(students, PDConfig(), lab.space)
    for batch in (1, 7, 500):  # the batch size does not matter
        count = 21 if batch == 1 else 200
        x = draw_samples(
            generator,
            lab.inputs,
            seed=1000,
            count=count,
            steps=4,
            batch=batch,
            device=lab.device,
        )
        np.testing.assert_allclose(lab.evaluator.pixels(x), expected[:count], atol=1e-5)


def test_api_samples_what_the_row_scored(tmp_path: Path) -> None:
    words = ["--smoke", "--no-references", "--method", "sid", "--out", str(tmp_path)]
    assert main(["run", "--suite", "gmm2d", *words]) == 0
    path = next(tmp_path.glob("*/*/record.json"))
    loaded = bench.load(path.parent)
    stored = json.loads((path.parent / "stages.json").read_text())["samples-1"]
    expected = load_file(tmp_path / stored / "samples.safetensors")["samples"]
    np.testing.assert_allclose(loaded.sample(50), expected[:50], atol=1e-5)
    with pytest.raises(bench.errors.UsageError, match="steps found 4, expected one of 1"):
        bench.load(path.parent, steps=4)


# ---------------------------------------------------------------------- failures


def test_a_failing_cell_becomes_a_row_and_the_rest_go_on(tmp_path: Path, plugin: Path) -> None:
    suite, out = tiny_suite(tmp_path), tmp_path / "runs"
    words = ["--no-references", "--plugin", str(plugin), "--method", "raises", "--method", "good"]
    assert run(suite, out, *words) == 1
    found = records(out)
    assert found["good"].status == "ok"
    assert found["raises"].status == "failed"
    failure = found["raises"].failure
    assert failure is not None and failure.stage == "distil" and "no such luck" in failure.message
    assert "trouble" in failure.traceback


def test_fail_fast_stops_at_the_first(tmp_path: Path, plugin: Path) -> None:
    suite, out = tiny_suite(tmp_path), tmp_path / "runs"
    words = ["--no-references", "--plugin", str(plugin), "--method", "raises", "--method", "good"]
    assert run(suite, out, *words, "--fail-fast") == 1
    assert set(records(out)) == {"raises"}


def test_divergence_names_iteration_and_tensor_and_keeps_finite_state(tmp_path: Path, plugin: Path) -> None:
    suite, out = tiny_suite(tmp_path), tmp_path / "runs"
    words = ["--no-references", "--plugin", str(plugin), "--method", "nan", "--method", "nanweight"]
    assert run(suite, out, *words) == 1
    found = records(out)
    assert found["nan"].status == "diverged" and "iteration 3: loss is nan" in found["nan"].failure.message
    weight = found["nanweight"]
    assert weight.status == "diverged" and "of student is not finite" in weight.failure.message
    for checkpoint in out.glob("stages/distil/*/checkpoint.pt"):
        state = torch.load(checkpoint, weights_only=True)
        for weights in state["context"]["networks"].values():
            assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_hung_step_is_stopped(tmp_path: Path, plugin: Path) -> None:
    suite = tiny_suite(tmp_path, **{"work = 9_000": "work = 9_000\nstep_seconds = 0.5"})
    assert run(suite, tmp_path / "runs", "--no-references", "--plugin", str(plugin), "--method", "hangs") == 1
    record = records(tmp_path / "runs")["hangs"]
    assert record.status == "timeout" and "iteration 2 ran longer than 0.5 s" in record.failure.message


def test_seconds_limit_truncates(tmp_path: Path, plugin: Path) -> None:
    suite = tiny_suite(tmp_path, **{"work = 9_000": "work = 1e9\nseconds = 0.3"})
    assert run(suite, tmp_path / "runs", "--no-references", "--plugin", str(plugin), "--method", "good") == 0
    assert records(tmp_path / "runs")["good"].status == "truncated"


def test_interrupt_saves_and_says_how_to_resume(
    tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_TEST_FLAG", str(tmp_path / "flag"))
    suite = tiny_suite(tmp_path)
    words = ["--no-references", "--plugin", str(plugin), "--method", "interrupts"]
    assert run(suite, tmp_path / "runs", *words) == 130
    assert "resumes" in capsys.readouterr().out
    assert run(suite, tmp_path / "runs", *words) == 0  # goes on
    assert run(suite, tmp_path / "again", *words) == 0  # undisturbed
    resumed, undisturbed = records(tmp_path / "runs"), records(tmp_path / "again")
    assert values(resumed["interrupts"]) == values(undisturbed["interrupts"])


def test_killed_at_ten_random_moments_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL, for real: children forked from this process are killed and started again."""
    suite = tiny_suite(tmp_path, **{"work = 9_000": "work = 40_000"})
    words = ["--no-references", "--method", "sid", "--method", "progressive"]
    monkeypatch.setattr("bench.training.CHECKPOINT_SECONDS", 0.05)
    start = time.monotonic()
    assert run(suite, tmp_path / "calm", *words) == 0
    calm_seconds = time.monotonic() - start
    moments, kills = random.Random(0), 0
    while kills < 10:
        child = os.fork()
        if child == 0:
            os._exit(run(suite, tmp_path / "killed", *words))
        time.sleep(calm_seconds * moments.uniform(0.02, 0.3))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
        if kills < 10 and len(list((tmp_path / "killed").glob("*/*/record.json"))) == 2:
            shutil.rmtree(tmp_path / "killed")  # it got through: begin anew
    assert run(suite, tmp_path / "killed", *words) == 0
    calm, killed = records(tmp_path / "calm"), records(tmp_path / "killed")
    for label in ("sid", "progressive"):
        assert values(calm[label]) == values(killed[label])  # includes the digests of student and samples
