"""Metrics of others: three ways of bringing one, values beside the protocol's, troubles that stay alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from plugin_sources import METRIC, install_metric, method, metric_package
from tiny import tiny_suite

from bench.cli import main
from bench.closure import closure_digest
from bench.evaluation import evaluator_for
from bench.plugins.beside import blocks_of
from bench.plugins.metric_job import job_of, values_apart, values_here
from bench.plugins.metrics import MetricRegistry, batches_of, lacking, real_side
from bench.record import Failure, Record, read_record
from bench.stored import StoredCell
from bench.suite import load_suite
from metrics.plugin import Needs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith(("metric_package", "bench_plugin_"))]:
        del sys.modules[name]
    closure_digest.cache_clear()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with one finished cell of a plugin method, measured by the protocol alone."""
    folder, threads = tmp_path_factory.mktemp("finished"), torch.get_num_threads()
    torch.set_num_threads(1)
    (folder / "small.py").write_text(method())
    tiny_suite(folder, **{"work = 9_000": "work = 2_000"})
    assert run(folder) == 0
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished runs."""
    shutil.copytree(finished, tmp_path / "place")
    return tmp_path / "place"


def run(folder: Path, *words: str) -> int:
    suite, plugin = str(folder / "tiny.toml"), str(folder / "small.py")
    given = ["--no-references", "--no-isolate", "--nfe", "1", "--plugin", plugin, "--method", "small"]
    return main(["run", "--suite", suite, *given, "--out", str(folder / "runs"), *words])


def record_in(folder: Path) -> Record:
    (path,) = folder.glob("runs/*/*/record.json")
    return read_record(path)


def without(record: Record) -> Record:
    return record.model_copy(update={"plugin_metrics": {}})


def test_three_ways_give_the_same_numbers_and_digest(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, lone, before = metric_package(tmp_path / "package"), tmp_path / "lone.py", record_in(place)
    lone.write_text(METRIC)
    kept, found = (place / "runs").rename(place / "kept"), {}
    for way, words in (
        ("file", ["--plugin", str(lone)]),
        ("folder", ["--plugin", str(folder)]),
        ("installed", ["--metric", "spread"]),
    ):
        shutil.copytree(kept, place / "runs")
        if way == "installed":
            install_metric(folder, tmp_path / "site")
            monkeypatch.syspath_prepend(tmp_path / "site")
            monkeypatch.syspath_prepend(folder / "src")
        assert run(place, *words) == 0
        assert without(record_in(place)) == before, "nothing but the metric was added"
        found[way] = record_in(place).plugin_metrics["spread"]
        shutil.rmtree(place / "runs")
    assert {way: one.package for way, one in found.items()} == {
        "file": "plugin", "folder": "1.4", "installed": "1.4",
    }  # fmt: skip
    same = {one.model_copy(update={"package": ""}).model_dump_json() for one in found.values()}
    assert len(same) == 1
    assert (found["file"].version, found["file"].title, len(found["file"].closure_sha256)) == (
        "3", "spread x10", 64,
    )  # fmt: skip
    capsys.readouterr()
    assert main(["list", "metrics"]) == 0
    assert "metric_package.metric:Spread of metric-package 1.4" in capsys.readouterr().out


def test_values_are_those_of_the_stored_samples(place: Path, tmp_path: Path) -> None:
    (tmp_path / "lone.py").write_text(METRIC)
    assert run(place, "--plugin", str(tmp_path / "lone.py")) == 0
    (folder,) = place.glob("runs/*/*/record.json")
    cell = StoredCell.open(folder.parent, load_suite(str(place / "tiny.toml")))
    (row,), evaluator = cell.record.rows, cell.evaluator
    expected = [
        10 * block.std() / evaluator.real(len(block), seed)[0].std()
        for block, seed in zip(cell.blocks(row), cell.seeds(row), strict=True)
    ]
    assert cell.record.plugin_metrics["spread"].rows[1].values == pytest.approx(expected)
    assert len(expected) == 2 and expected[0] != expected[1]


def test_a_metric_is_measured_once_until_its_source_changes(place: Path, tmp_path: Path) -> None:
    path, (record,) = tmp_path / "lone.py", place.glob("runs/*/*/record.json")
    path.write_text(METRIC)
    assert run(place, "--plugin", str(path)) == 0
    written = record.stat().st_mtime_ns
    assert run(place, "--plugin", str(path)) == 0
    assert record.stat().st_mtime_ns == written
    path.write_text(METRIC.replace("10 *", "20 *"))
    closure_digest.cache_clear()
    old = read_record(record).plugin_metrics["spread"]
    assert run(place, "--plugin", str(path)) == 0
    new = read_record(record).plugin_metrics["spread"]
    assert new.closure_sha256 != old.closure_sha256
    assert new.rows[1].mean == pytest.approx(2 * old.rows[1].mean)


TROUBLES = (
    METRIC
    + """

class Raises(Spread):
    name = "raises"

    def value(self):
        raise RuntimeError("no such luck")


class NotFinite(Spread):
    name = "not_finite"

    def value(self):
        return float("nan")


class Writes(Spread):
    name = "writes"

    def update(self, batch):
        batch.samples[:] = 0


class Features(Spread):
    name = "of_features"
    needs = Needs(features=True)
"""
)


def test_troubles_cost_their_own_values(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "troubles.py").write_text(TROUBLES)
    before = record_in(place)
    assert run(place, "--plugin", str(tmp_path / "troubles.py")) == 1
    shown, after = capsys.readouterr().out, record_in(place)
    assert without(after) == before
    failed = {name: one.failure for name, one in after.plugin_metrics.items()}
    assert failed["spread"] is None and after.plugin_metrics["spread"].rows[1].values
    said = {"raises": "no such luck", "not_finite": "expected a finite number", "writes": "read-only"}
    assert set(failed) == {"spread", *said}, "what cannot be fed is left out, which is no failure"
    for name, words in said.items():
        failure = failed[name]
        assert failure is not None and words in failure.message and not after.plugin_metrics[name].rows
        assert f"note: {name}: failed on small:" in shown
    assert "note: of_features: left out: it needs features, and the protocol has no feature network" in shown
    assert "spread x10" in shown and f"{after.plugin_metrics['spread'].rows[1].mean:.2f}" in shown
    (tmp_path / "troubles.py").write_text(
        TROUBLES.replace('raise RuntimeError("no such luck")', "return 1.0")
    )
    closure_digest.cache_clear()
    assert run(place, "--plugin", str(tmp_path / "troubles.py")) == 1
    assert record_in(place).plugin_metrics["raises"].failure is None, "what failed is tried again"


def test_an_unknown_metric_and_a_taken_key(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--metric", "spred") == 2
    assert "unknown metric 'spred'" in capsys.readouterr().err
    (tmp_path / "lone.py").write_text(METRIC.replace('"spread"', '"swd"'))
    assert run(place, "--plugin", str(tmp_path / "lone.py")) == 2
    assert "plugin metric 'swd' has the key of a metric that ships" in capsys.readouterr().err
    (tmp_path / "lone.py").write_text(METRIC.replace('better = "higher"', 'better = "more"'))
    assert run(place, "--plugin", str(tmp_path / "lone.py")) == 2
    assert "better is 'more'" in capsys.readouterr().err


def test_apart_or_not_the_numbers_are_the_same(finished: Path, tmp_path: Path) -> None:
    path, suite = tmp_path / "lone.py", load_suite(str(finished / "tiny.toml"))
    path.write_text(METRIC.replace("def value(self):", "def value(self):\n        print('x' * 10_000)"))
    (record,) = finished.glob("runs/*/*/record.json")
    blocks = [block for _, block in blocks_of(StoredCell.open(record.parent, suite))]
    damaged = blocks[1].model_copy(update={"sha256": "0" * 64})
    metric = MetricRegistry((path,)).find("spread")
    job = job_of(metric, suite, "cpu", [blocks[0], damaged, blocks[1]], None)
    apart, here = values_apart(job), values_here(job, evaluator_for(suite), metric)
    assert (apart[0], apart[2]) == (here[0], here[2]) and isinstance(apart[0], float)
    assert isinstance(apart[1], Failure) and "expected " + "0" * 64 in apart[1].message


def test_what_a_metric_is_given() -> None:
    evaluator = evaluator_for(load_suite("digits"))
    needs = Needs(space="images", labels=True, features=True, real=True)
    assert lacking(needs, evaluator) is None
    assert lacking(Needs(space="points"), evaluator) == "it takes points, and samples here are images"
    samples = evaluator.anchor("real", 30, 5)
    batches = list(batches_of(needs, evaluator, samples, 5, 8))
    assert [len(batch.samples) for batch in batches] == [8, 8, 8, 6]
    assert np.array_equal(np.concatenate([batch.samples for batch in batches]), samples)
    labels = [label for batch in batches if batch.labels is not None for label in batch.labels]
    assert labels == [i % 10 for i in range(30)]
    found = [batch.features for batch in batches if batch.features is not None]
    assert np.allclose(np.concatenate(found), evaluator.features(samples))
    real = real_side(needs, evaluator, 30, 5)
    assert real.data is not None and real.data.features is not None and real.moments is not None
    assert real.data.features.mean(0) == pytest.approx(real.moments.mean)
    assert real.data.labels is not None and len(real.data.labels) == len(real.data.samples)
    with pytest.raises(ValueError, match="read-only"):
        real.data.samples[0] = 0
    assert real_side(Needs(), evaluator, 30, 5).data is None


KILLERS = """

class Exits(Spread):
    name = "exits"

    def value(self):
        import os
        os._exit(7)


class Dies(Spread):
    name = "dies"

    def value(self):
        import os
        os.kill(os.getpid(), 9)


class Hangs(Spread):
    name = "hangs"

    def value(self):
        while True:
            pass


class Leaks(Spread):
    name = "leaks"

    def value(self):
        kept = []
        while True:
            kept.append(np.ones(50_000_000))


class Quits(Spread):
    name = "quits"

    def value(self):
        raise SystemExit("bye")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("exits", "exit", "left with status 7 before its last block"),
        ("dies", "killed", "died of signal 9"),
        ("hangs", "hung", "gave no sign of life for 3 s"),
        ("leaks", "out of memory", ""),
        ("quits", "SystemExit", "bye"),
    ],
)
def test_what_kills_a_process_costs_one_metric(
    name: str, kind: str, message: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.plugins.metric_job.SILENCE_SECONDS", 3.0 if name == "hangs" else 60.0)
    monkeypatch.setattr("bench.plugins.metric_job.START_SECONDS", 60.0)
    path, suite = tmp_path / "killers.py", load_suite(str(finished / "tiny.toml"))
    path.write_text(METRIC + KILLERS)
    (record,) = finished.glob("runs/*/*/record.json")
    blocks = [block for _, block in blocks_of(StoredCell.open(record.parent, suite))]
    metric = MetricRegistry((path,)).find(name)
    for value in values_apart(job_of(metric, suite, "cpu", blocks, 1 << 31)):
        assert isinstance(value, Failure) and value.kind == kind and message in value.message


def test_samples_of_others_are_measured_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import measuring

    def here(job):  # type: ignore[no-untyped-def]
        return values_here(job, evaluator_for(job.suite), job.find())

    monkeypatch.setattr(measuring, "values_apart", here)
    (tmp_path / "lone.py").write_text(METRIC)
    points = evaluator_for(load_suite("gmm2d")).anchor("real", 5000, 3)
    np.savez(tmp_path / "points.npz", points=points)
    words = [str(tmp_path / "points.npz"), "--protocol", "gmm2d@1", "--plugin", str(tmp_path / "lone.py")]
    row = ["--row", "Theirs", "--nfe", "4", "--out", str(tmp_path / "runs")]
    assert main(["measure", *words, "--format", "json", *row]) == 0
    told = json.loads(capsys.readouterr().out)["plugin_metrics"]["spread"]
    assert told["rows"]["0"]["mean"] == pytest.approx(10, rel=0.05)
    (path,) = tmp_path.glob("runs/*/*/record.json")
    assert read_record(path).plugin_metrics["spread"].rows[4].mean == told["rows"]["0"]["mean"]
    assert main(["measure", *words]) == 0
    assert "spread  " in (shown := capsys.readouterr().out) and "plugin, version 3, source" in shown
