"""``bench prepare`` and ``bench run`` on suites of published models, with small files in the real formats."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import file_server
import numpy as np
import pytest
from miniature import without_digests, write_mirror
from safetensors.numpy import load_file

from bench.assets.registry import find
from bench.cli import main
from bench.record import Record, read_record
from bench.suite import Suite, load_suite

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and no other setting."""
    for name in ("BENCH_MIRROR", "BENCH_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[file_server.Server]:
    with file_server.serving() as running:
        yield running


def prepared(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Suite:
    """The suite with all of its files in the cache, from a folder as mirror."""
    suite = load_suite(name)
    without_digests(suite, patch)
    write_mirror(folder / "mirror", suite)
    bring_folders(folder, suite)
    assert main(["prepare", "--suite", name, "--mirror", str(folder / "mirror"), "--yes"]) == 0
    return load_suite(name)


def bring_folders(folder: Path, suite: Suite) -> None:
    """Folders of the hub, put into the cache by hand."""
    for id_ in suite.all_assets:
        if not find(id_).file:
            shutil.copytree(folder / "mirror" / id_, folder / "cache" / "files" / id_)


def run(name: str, out: Path, *words: str) -> list[Record]:
    """Records of a run, in the order of their labels."""
    assert main(["run", "--suite", name, "--smoke", "--offline", "--out", str(out), *words]) == 0
    records = [read_record(path) for path in out.glob("*/*/record.json")]
    assert {record.status for record in records} == {"ok"}
    return sorted(records, key=lambda record: (record.kind, record.label))


def test_published_and_trained_students_of_imagenet64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared("imagenet64", tmp_path, monkeypatch)
    words = ["--method", "sid[weights=published]", "--method", "dmd2[weights=published]", "--method", "sid"]
    capsys.readouterr()
    records = run("imagenet64", tmp_path / "runs", *words, "--no-references", "--nfe", "1")
    board = capsys.readouterr().out
    by_label = {record.label: record for record in records}
    assert set(by_label) == {"sid[weights=published]", "dmd2[weights=published]", "sid"}
    for record in records:
        (row,) = record.rows
        assert row.nfe_by_role == {"student": 1.0} and row.metrics["fid"].mean > 0
        assert len(row.metrics["fid"].values) == 2 and record.protocol == "suite-fid50k@1-smoke"
    published, trained = by_label["sid[weights=published]"], by_label["sid"]
    assert published.kind == "published" and published.cost is None and published.rows[0].work == 0
    assert trained.kind == "student" and trained.cost is not None and len(trained.curve) >= 2
    assert trained.rows[0].student_sha256 != published.rows[0].student_sha256
    assert "published weights, not ranked" in board


def test_a_missing_data_set_is_not_asked_for_by_published_students(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is it replaced in silence: the row of real images is left out with a note."""
    suite = prepared("cifar10", tmp_path, monkeypatch)
    assert suite.files is not None
    (cache / "files" / suite.files.data / "cifar10-32x32.zip").unlink()
    capsys.readouterr()
    records = run("cifar10", tmp_path / "runs", "--method", "sid[weights=published]", "--nfe", "1")
    assert "note: real: left out, since data/edm/cifar10-32x32 is not here" in capsys.readouterr().out
    assert {record.kind for record in records} == {"published", "solver", "teacher"}
    words = ["run", "--suite", "cifar10", "--smoke", "--offline", "--out", str(tmp_path / "runs")]
    assert main([*words, "--method", "dmd2", "--nfe", "1"]) == 3
    assert "1 asset is missing: data/edm/cifar10-32x32" in capsys.readouterr().err


def test_nothing_runs_without_assets(capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    assert main(["run", "--suite", "imagenet64", "--offline", "--out", str(tmp_path / "runs")]) == 3
    line = capsys.readouterr().err
    suite = load_suite("imagenet64")
    for name in suite.all_assets:
        assert f"{name} (" in line and str(cache / "files" / name) in line
    assert not (tmp_path / "runs").exists()


def test_unknown_published_weights_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, expected in {
        (
            "--suite",
            "imagenet64",
            "--method",
            "sid[weights=publishd]",
        ): "did you mean 'sid[weights=published]'",
        ("--suite", "digits", "--method", "sid[weights=published]"): "unknown published student",
        ("--suite", "imagenet64", "--method", "sid[weights=published]", "--nfe", "4"): "it serves 1",
        ("--suite", "imagenet64", "--protocol", "edm-fid50k-trian@1"): "did you mean 'edm-fid50k-train@1'",
        ("--suite", "digits", "--protocol", "edm-fid50k-train@1"): "suite digits has one protocol only",
    }.items():
        assert main(["run", *words, "--out", str(tmp_path / "runs")]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet64", "cifar10", "imagenet512"])
def test_whole_path_from_a_server(
    name: str, server: file_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the mission says: prepare, then run everything: released students, all methods, references."""
    suite = load_suite(name)
    without_digests(suite, monkeypatch)
    server.files.update(write_mirror(tmp_path / "mirror", suite))
    bring_folders(tmp_path, suite)
    assert main(["prepare", "--suite", name, "--mirror", server.address, "--yes"]) == 0
    assert {path for path, *_ in server.seen} == set(server.files)

    records = run(name, tmp_path / "runs", "--nfe", "1,2")
    labels = {record.label for record in records}
    assert {one.label for one in suite.published} <= labels
    trained = {record.method for record in records if record.kind == "student"}
    assert trained == {*suite.methods, *suite.wrappers}
    for record in records:
        assert all(row.metrics["fid"].values for row in record.rows)
        if record.kind == "student":
            assert record.cost is not None and record.cost.iterations >= 2
            # a ladder has no student for few steps before its last stages
            assert len({point.work for point in record.curve}) >= (1 if record.method == "progressive" else 2)


def test_latents_are_decoded_to_be_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared("imagenet512", tmp_path, monkeypatch)
    words = ["--method", "sid[weights=published]", "--no-references", "--nfe", "1"]
    (record,) = run("imagenet512", tmp_path / "runs", *words)
    (row,) = record.rows
    stored = next((tmp_path / "runs").glob("stages/samples/*/samples.safetensors"))
    samples = load_file(stored)["samples"]
    assert samples.shape[1:] == (4, 64, 64) and samples.dtype == np.float32
    assert record.protocol == "edm2-fid50k-train@1-smoke" and row.metrics["fid"].mean > 0
