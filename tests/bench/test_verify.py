"""``bench submit`` and ``bench verify``: what each level catches, tried with tampered records."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tiny import tiny_suite

from bench.cli import main
from bench.closure import closure_digest
from bench.evaluation import evaluator_for
from bench.plugins.metric_job import MetricJob, values_here
from bench.record import Failure, read_record
from bench.report.levels import read_levels
from bench.report.rowid import record_digest
from bench.suite import load_suite
from bench.verify.capsule import open_capsule, pack
from bench.verify.levels import verify
from metrics.statistics import summarise

Edit = Callable[[dict[str, Any]], None]
SHIPPED = load_suite


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cell: PD on the tiny suite."""
    folder = tmp_path_factory.mktemp("verify")
    path = tiny_suite(folder)
    words = ["--no-references", "--threads", "1", "--nfe", "1,2", "--method", "progressive"]
    assert main(["run", "--suite", str(path), *words, "--out", str(folder / "runs")]) == 0
    (record,) = (folder / "runs").glob("*/*/record.json")
    return record.parent


@pytest.fixture(autouse=True)
def tiny_is_gmm2d(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny suite stands in for the shipped one of its name."""
    path = str(cell.parent.parent.parent / "tiny.toml")
    for module in ("bench.verify.levels", "bench.stored"):
        monkeypatch.setattr(f"{module}.load_suite", lambda name: SHIPPED(path))


@pytest.fixture(scope="module")
def capsule(cell: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = str(cell.parent.parent.parent / "tiny.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.stored.load_suite", lambda name: SHIPPED(path))
        return pack(cell, tmp_path_factory.mktemp("submissions"))


def repacked(capsule: Path, out: Path, edit: Edit, weights: Path | None = None, honest: bool = True) -> Path:
    """The submission with an edited record; ``honest``: with all digests made to fit again."""
    with zipfile.ZipFile(capsule) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    record, manifest = json.loads(files["record.json"]), json.loads(files["manifest.json"])
    if weights is not None:
        files["weights.safetensors"] = weights.read_bytes()
        for row in record["rows"]:
            row["student_sha256"] = hashlib.sha256(files["weights.safetensors"]).hexdigest()
    edit(record)
    files["record.json"] = json.dumps(record).encode()
    if honest:
        manifest["files"] = {
            name: hashlib.sha256(files[name]).hexdigest() for name in ("record.json", "weights.safetensors")
        }
        for row in record["rows"]:
            manifest["samples"][str(row["steps"])][0] = row["samples_sha256"]
        files["manifest.json"] = json.dumps(manifest).encode()
    path = out / "tampered.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def consistent(value: dict[str, Any], values: list[float]) -> None:
    """Set the values of a metric and everything that follows from them."""
    summary = summarise(values)
    value.update(mean=summary.mean, std=summary.std, ci95=summary.ci95, values=list(values))


def test_a_true_submission_passes_and_is_noted(
    capsule: Path, cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ["verify", str(capsule), "--level", "re-scored", "--write", str(tmp_path)]
    assert main(words) == 0
    assert "1 of 1 reach re-scored" in capsys.readouterr().out
    digest = record_digest(read_record(cell / "record.json"))
    assert read_levels(tmp_path) == {digest: "re-scored"}
    assert open_capsule(capsule).record == read_record(cell / "record.json")


def test_training_again_gives_the_same_bytes(capsule: Path) -> None:
    verdict = verify(capsule, "re-trained")
    assert (verdict.level, verdict.problems) == ("re-trained", ())


def test_packing_is_reproducible(cell: Path, capsule: Path, tmp_path: Path) -> None:
    again = pack(cell, tmp_path)
    assert again.name == capsule.name and again.read_bytes() == capsule.read_bytes()


def leaves(record: dict[str, Any]) -> list[tuple[list[Any], Any]]:
    """Paths and values of everything that the first level holds a record to."""
    found: list[tuple[list[Any], Any]] = []

    def walk(value: Any, path: list[Any]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, [*path, key])
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(inner, [*path, number])
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((path, value))

    for key in ("rows", "cost", "config", "preset", "seed"):
        walk(record[key], [key])
    free = {
        "seconds",
        "forwards_by_role",
        "backwards_by_role",
        "p90_ms",
        "peak_memory_mib",
        "spread_ms",
        "stages_ms",
        "work",
    }
    return [
        (path, value) for path, value in found if not free & set(map(str, path)) or path == ["cost", "work"]
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_number_contradicts_the_record(cell: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Any single number that the first level claims to hold, changed by a little or a lot."""
    record = json.loads((cell / "record.json").read_text())
    path, value = data.draw(st.sampled_from(leaves(record)))
    factor = data.draw(st.sampled_from([0.5, 0.99, 1.01, 2.0]))
    new = value * factor if isinstance(value, float) else value + data.draw(st.integers(1, 5))
    if new == value:
        new = value + 1
    place = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = new
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    try:
        verdict = verify(file, "self-reported")
    except Exception as error:  # the schema alone refuses it
        assert type(error).__name__ == "UsageError"
        return
    assert verdict.level is None, f"{path}: {value} -> {new}"


EDITS: dict[str, Edit] = {
    "label": lambda r: r.update(label="sid", method="sid"),
    "budget": lambda r: r.update(budget="full"),
    "suite": lambda r: r["provenance"]["seeds"].update(sample=999),
    "seed": lambda r: (r.update(seed=1), r["provenance"]["seeds"].update(train=1)),
    "option": lambda r: r["config"].update(lr=0.5),
    "failure": lambda r: r.update(status="failed"),
    "rows": lambda r: r.update(rows=[]),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_identity_is_found(name: str, cell: Path, tmp_path: Path) -> None:
    record = json.loads((cell / "record.json").read_text())
    EDITS[name](record)
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert verify(tmp_path / "record.json", "self-reported").level is None


def test_an_edit_without_digests_does_not_open(
    capsule: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = repacked(capsule, tmp_path, lambda r: r.update(notes=["better"]), honest=False)
    assert main(["verify", str(path)]) == 1
    assert "record.json: sha256 found" in capsys.readouterr().err


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(factor=st.floats(0.3, 0.99), row=st.integers(0, 1), key=st.sampled_from(["swd", "energy", "fd"]))
def test_invented_values_are_found_by_scoring_again(
    capsule: Path, tmp_path: Path, factor: float, row: int, key: str
) -> None:
    """With every statistic and digest recomputed the first level passes; the second does not."""

    def better(record: dict[str, Any]) -> None:
        value = record["rows"][row]["metrics"][key]
        consistent(value, [one * factor for one in value["values"]])

    path = repacked(capsule, tmp_path, better)
    assert verify(path, "self-reported").level == "self-reported"
    verdict = verify(path, "re-scored")
    assert verdict.level == "self-reported" and any(key in line for line in verdict.problems)


def test_other_weights_are_found_by_scoring_again(cell: Path, capsule: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(capsule) as archive:
        archive.extract("weights.safetensors", tmp_path)
    from safetensors import safe_open

    path = tmp_path / "weights.safetensors"
    with safe_open(path, framework="np") as stream:
        meta = stream.metadata()
    tensors = {name: value * 1.01 for name, value in load_file(path).items()}
    save_file(tensors, path, metadata=meta)
    tampered = repacked(capsule, tmp_path, lambda r: None, weights=path)
    assert verify(tampered, "self-reported").level == "self-reported"
    assert verify(tampered, "re-scored").level == "self-reported"


def test_more_evaluations_than_stated_are_found(capsule: Path, tmp_path: Path) -> None:
    def fewer(record: dict[str, Any]) -> None:
        row = record["rows"][1]
        row.update(nfe=1, nfe_by_role={"student": 1.0})

    verdict = verify(repacked(capsule, tmp_path, fewer), "re-scored")
    assert any("nfe 1, but the FLOPs of one sample are those of 2" in line for line in verdict.problems)


def test_invented_work_is_found_by_training_again(capsule: Path, tmp_path: Path) -> None:
    def cheaper(record: dict[str, Any]) -> None:
        units = record["cost"]["units_by_role"]
        units["student"], units["teacher"] = units["student"] - 500, units["teacher"] + 500

    path = repacked(capsule, tmp_path, cheaper)
    assert verify(path, "re-scored").level == "re-scored"
    verdict = verify(path, "re-trained")
    assert verdict.level == "re-scored" and "cost.units_by_role" in verdict.problems[0]


def test_what_cannot_be_verified_is_said(
    cell: Path, capsule: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(cell / "record.json", tmp_path / "alone.json")
    (tmp_path / "broken.zip").write_bytes(capsule.read_bytes()[:-40])
    (tmp_path / "noise.zip").write_bytes(b"PK nothing")
    for words, status, expected in (
        (
            [str(tmp_path / "alone.json"), "--level", "re-scored"],
            2,
            "a record without weights cannot be scored",
        ),
        ([str(tmp_path / "broken.zip")], 2, "not a submission made by 'bench submit'"),
        ([str(tmp_path / "noise.zip")], 2, "not a submission made by 'bench submit'"),
        ([str(capsule), "--level", "rescored"], 2, "did you mean 're-scored'?"),
    ):
        assert main(["verify", *words]) == status
        assert expected in capsys.readouterr().err
    assert main(["submit", str(tmp_path)]) == 2


def test_committed_records_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert main(["verify"]) == 0


def test_equal_records_are_not_edited_by_verifying(cell: Path) -> None:
    before = copy.deepcopy(read_record(cell / "record.json"))
    verify(cell, "re-scored")
    assert read_record(cell / "record.json") == before


METRIC = """
from metrics.plugin import Metric


class Spread(Metric):
    name = "spread"
    about = "standard deviation of samples"

    def __init__(self, real, rng):
        super().__init__(real, rng)
        self.parts = []

    def update(self, batch):
        self.parts.append(batch.samples.ravel())

    def value(self):
        import numpy as np

        return float(np.concatenate(self.parts).std())
"""


def test_metrics_of_plugins_are_measured_again(
    cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(job: MetricJob) -> list[float | Failure]:
        return values_here(job, evaluator_for(job.suite), job.find())

    monkeypatch.setattr("bench.verify.plugin_metrics.values_apart", here)
    runs, plugin = tmp_path / "runs", tmp_path / "spread.py"
    shutil.copytree(cell.parent.parent, runs)
    plugin.write_text(METRIC)
    words = ["--no-references", "--no-isolate", "--threads", "1", "--nfe", "1,2", "--method", "progressive"]
    suite = str(cell.parent.parent.parent / "tiny.toml")
    assert main(["run", "--suite", suite, *words, "--plugin", str(plugin), "--out", str(runs)]) == 0
    folder = runs / cell.parent.name / cell.name
    assert verify(folder, "re-scored", (plugin,)).problems == ()
    verdict = verify(folder, "re-scored")
    assert verdict.level == "self-reported"
    assert "plugin_metrics.spread: no plugin here brings this metric" in verdict.problems[0]
    record = json.loads((folder / "record.json").read_text())
    consistent(record["plugin_metrics"]["spread"]["rows"]["2"], [1.0, 2.0])
    (folder / "record.json").write_text(json.dumps(record))
    plugin.write_text(METRIC + "# changed since\n")
    closure_digest.cache_clear()
    first, second = verify(folder, "re-scored", (plugin,)).problems
    assert first.startswith("plugin_metrics.spread: 2 steps: repeat 0 is 1, measured again 0.")
    assert second.endswith("; its source here is another")
