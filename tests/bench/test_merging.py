"""Records of several machines in one folder: order, equal records, conflicts, nothing half written."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from record_factory import board, failed, provenance, record, row

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.merging import merge_records
from bench.record import Record, read_record, write_record


def machine(folder: Path, *records: Record) -> Path:
    """A folder of runs."""
    for one in records:
        write_record(one, folder / f"{one.suite}@{one.suite_version}" / one.cell / "record.json")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_order_does_not_matter(tmp_path: Path) -> None:
    every = board()
    parts = [machine(tmp_path / str(i), *every[i::3], every[0]) for i in range(3)]
    made = []
    for i, order in enumerate(itertools.permutations(parts)):
        merge_records(order, tmp_path / f"out{i}")
        made.append(contents(tmp_path / f"out{i}"))
    assert all(one == made[0] for one in made)
    assert len(made[0]) == len({one.cell for one in every})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2", *(f"out{i}" for i in range(6))]


def test_a_merged_folder_is_a_source_and_has_a_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = machine(tmp_path / "runs", *board())
    merge_records([runs], tmp_path / "once")
    merge_records([tmp_path / "once", runs], tmp_path / "twice")
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")
    assert main(["leaderboard", "gmm2d", "--records", str(tmp_path / "twice")]) == 0
    assert "progressive" in capsys.readouterr().out


def test_a_published_copy_is_the_same_record(tmp_path: Path) -> None:
    copy = record(command="bench run --suite gmm2d", preset={"batch": 256})
    for i, order in enumerate(((record(), copy), (copy, record()))):
        a, b = (machine(tmp_path / f"{i}{j}", one) for j, one in enumerate(order))
        [path] = merge_records([a, b], tmp_path / f"out{i}")
        assert read_record(path) == copy


def test_conflicts_are_named_with_both_files_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = machine(tmp_path / "a", record(), record("dmd"))
    b = machine(tmp_path / "b", record(rows=[row(1, 8.0)]), record("dmd", rows=[row(2, 1.0)]), record("lcm"))
    said = []
    for words in ([str(a), str(b)], [str(b), str(a)]):
        assert main(["merge", *words, "--out", str(tmp_path / "out")]) == 1
        said.append(capsys.readouterr().err)
    assert said[0] == said[1] and said[0].count("seed 0: differ in") == 2
    cell = f"gmm2d@1.0/{record().cell}/record.json"
    assert f"{a / cell} and {b / cell}" in said[0] and "rows.0.metrics.energy" in said[0]
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_a_result_takes_the_place_of_a_failure(tmp_path: Path) -> None:
    late = provenance(created="2031-01-01T00:00:00Z")
    a = machine(tmp_path / "a", failed("sid", provenance=late), failed("dmd"))
    b = machine(tmp_path / "b", record(), failed("dmd", provenance=late))
    written = [read_record(path) for path in merge_records([b, a], tmp_path / "out")]
    assert {(r.label, r.status, r.provenance.created[:4]) for r in written} == {
        ("sid", "ok", "2030"),
        ("dmd", "failed", "2031"),
    }


def test_other_options_of_one_label_are_another_record(tmp_path: Path) -> None:
    a = machine(tmp_path / "a", record(), record(config={"alpha": 1.0}))
    names = {path.name for path in merge_records([a], tmp_path / "out")}
    assert len(names) == 2 and all(name.startswith("sid.student.quick.seed0.") for name in names)


def test_what_is_not_a_source_or_a_target(tmp_path: Path) -> None:
    runs = machine(tmp_path / "runs", record())
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        merge_records([runs], runs)
    with pytest.raises(UsageError, match="no such file or folder"):
        merge_records([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="no records here"):
        merge_records([tmp_path / "empty"], tmp_path / "out")
    hostile = machine(tmp_path / "hostile", record())
    path = next(hostile.rglob("record.json"))
    path.write_text(path.read_text().replace('"suite": "gmm2d"', '"suite": "../.."'))
    with pytest.raises(UsageError, match="expected a suite's name"):
        merge_records([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
