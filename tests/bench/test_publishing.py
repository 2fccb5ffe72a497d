"""From a run to the committed board: files, names, grid; smoke runs stay out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.publishing import file_name, publish_runs
from bench.record import read_record, write_record
from bench.suite import load_suite


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a smoke suite, made to look like results by their protocol id."""
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("runs")
    words = ["--suite", "gmm2d", "--smoke", "--method", "pd", "--nfe", "1,2", "--out", str(runs)]
    assert main(["run", *words]) == 0
    return runs


def test_smoke_runs_are_refused(smoke: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="smoke run, which is no result"):
        publish_runs(load_suite("gmm2d"), smoke, tmp_path / "records")


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no finished cell of gmm2d@1\.0 at budget quick"):
        publish_runs(load_suite("gmm2d"), tmp_path, tmp_path / "records", "quick")


def test_board_is_written_beside_the_records(smoke: Path, tmp_path: Path) -> None:
    for path in smoke.glob("*/*/record.json"):
        record = read_record(path)
        write_record(record.model_copy(update={"protocol": "gmm2d@1"}), path)
    written = publish_runs(load_suite("gmm2d"), smoke, tmp_path / "records")
    board = tmp_path / "gmm2d"
    assert {p.name for p in board.iterdir()} == {
        "README.md",
        "table.csv",
        "curve.png",
        "pareto.png",
        "grid.png",
        "samples",
    }
    assert (board / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert "![quality against latency](pareto.png)" in (board / "README.md").read_text()
    assert "![samples](grid.png)" in (board / "README.md").read_text()
    records = list((tmp_path / "records" / "gmm2d").glob("*.json"))
    assert set(records) < set(written) and len(records) == 8
    assert {file_name(read_record(p), load_suite("gmm2d")) for p in records} == {p.name for p in records}
    again = publish_runs(load_suite("gmm2d"), smoke, tmp_path / "records")
    assert sorted(again) == sorted(set(written) - set(records))  # records that say the same keep their bytes


def test_rows_published_apart_stand_in_one_grid(smoke: Path, tmp_path: Path) -> None:
    suite, whole, board = load_suite("gmm2d"), tmp_path / "whole", tmp_path / "gmm2d"
    shutil.copytree(smoke, whole)
    for path in whole.glob("*/*/record.json"):
        write_record(read_record(path).model_copy(update={"protocol": "gmm2d@1"}), path)
    parts = [tmp_path / "students", tmp_path / "references"]
    for part in parts:
        shutil.copytree(whole, part)
        for path in list(part.glob("*/*/record.json")):
            if (read_record(path).kind == "student") != (part == parts[0]):
                shutil.rmtree(path.parent)
        publish_runs(suite, part, tmp_path / "records")
    apart = (board / "grid.png").read_bytes()
    publish_runs(suite, whole, tmp_path / "records")
    assert (board / "grid.png").read_bytes() == apart


def test_the_latest_of_two_records_of_a_cell_is_published(smoke: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(smoke, runs)
    for path in list(runs.glob("*/*/record.json")):
        record = read_record(path).model_copy(update={"protocol": "gmm2d@1"})
        write_record(record, path)
        if record.kind == "student":
            older = shutil.copytree(path.parent, path.parent.with_name("zzzz"))
            when = record.provenance.model_copy(update={"created": "2000-01-01T00:00:00Z"})
            write_record(record.model_copy(update={"provenance": when}), older / "record.json")
    publish_runs(load_suite("gmm2d"), runs, tmp_path / "records")
    (published,) = (tmp_path / "records").glob("*/progressive.student.*")
    assert not read_record(published).provenance.created.startswith("2000")


def test_a_record_under_another_protocol_replaces_none() -> None:
    committed = Path(__file__).parents[2] / "leaderboards" / "records" / "gmm2d"
    record = read_record(committed / "sid.student.standard.seed0.json")
    other = record.model_copy(update={"protocol": "suite-fid5k-dev@1"})
    assert file_name(other, load_suite("gmm2d")) != file_name(record, load_suite("gmm2d"))
    assert "suite-fid5k-dev@1" in file_name(other, load_suite("gmm2d"))
