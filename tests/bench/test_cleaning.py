"""Cleaning: what goes by age and size, what finished records rest on, what is in use."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from record_factory import failed, record

from bench.assets.registry import assets
from bench.cleaning import Entry, Limits, parse_size, parse_span, remove_stage, stage_entries
from bench.cli import main
from bench.errors import UsageError
from bench.record import Record, write_record
from bench.store import Store, locked

DAY = 86_400.0


class Runs:
    """A folder of runs with one finished cell, one that failed, and stages of both."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.root = root
        self.trained = self.stage("distil", {"seed": 0}, "snapshot-0.safetensors")
        row = {"source": "w", "count": 200}
        self.blocks = [self.stage("samples", {**row, "seed": seed}) for seed in (1, 2)]
        self.curve = self.stage("samples", {"source": "w", "count": 100, "seed": 9})
        done = json.loads((self.blocks[1] / "done.json").read_text())
        self.score = self.stage(
            "scores", {"samples": done["files"]["samples.safetensors"], "seed": 2}, "scores.json"
        )
        self.lost = self.stage("distil", {"seed": 7}, "snapshot-0.safetensors")
        self.cell = self.add(record(), distil=self.trained, **{"samples-1": self.blocks[0]})
        self.add(failed("dmd"), distil=self.lost)

    def stage(self, kind: str, inputs: dict[str, Any], name: str = "samples.safetensors") -> Path:
        def make(folder: Path) -> None:
            (folder / name).write_bytes(json.dumps(inputs).encode() * 100)

        folder = self.store.stage(kind, inputs, make)
        unused(folder, 40)
        return folder

    def add(self, one: Record, **stages: Path) -> Path:
        folder = self.store.cell_folder(f"{one.suite}@{one.suite_version}", one.cell)
        (folder / "spec.json").write_text("{}")
        os.utime(folder / "spec.json", (time.time() - 20 * DAY,) * 2)
        places = {kind: str(path.relative_to(self.root)) for kind, path in stages.items()}
        (folder / "stages.json").write_text(json.dumps(places))
        write_record(one, folder / "record.json")
        return folder

    def left(self) -> set[Path]:
        return {path for path in (self.root / "stages").glob("*/*") if path.is_dir()}


def unused(folder: Path, days: float) -> None:
    os.utime(folder / "done.json", (time.time() - days * DAY,) * 2)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def cleaned(runs: Runs, *words: str) -> set[Path]:
    before = runs.left()
    assert main(["clean", "--runs", str(runs.root), *words]) == 0
    return before - runs.left()


def test_only_shown_without_yes(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert cleaned(runs) == set()
    out = capsys.readouterr().out
    assert out.count("would remove  ") == 2 and "unused for 40 d" in out
    assert "kept: 4 needed by a finished record; add --yes" in out


def test_what_rows_rest_on_stays_unless_told(runs: Runs) -> None:
    assert cleaned(runs, "--yes") == {runs.curve, runs.lost}
    assert cleaned(runs, "--yes", "--all") == {runs.trained, *runs.blocks, runs.score}
    assert (runs.cell / "record.json").is_file()


def test_age_counts_from_the_last_use(runs: Runs) -> None:
    runs.store.stage("distil", {"seed": 7}, lambda folder: None)  # used again: done.json says so
    assert cleaned(runs, "--older-than", "30d", "--yes") == {runs.curve}
    assert cleaned(runs, "--older-than", "1h", "--yes") == set()


def test_sizes(runs: Runs) -> None:
    size = sum(p.stat().st_size for p in runs.curve.iterdir())
    assert cleaned(runs, "--larger-than", str(10 * size), "--yes") == set()
    unused(runs.lost, 50)
    total = sum(one.bytes for one in stage_entries(runs.root))
    assert cleaned(runs, "--keep", str(total), "--yes") == set()
    assert cleaned(runs, "--keep", str(total - 1), "--yes") == {runs.lost}  # the longest unused
    assert cleaned(runs, "--keep", "0", "--yes") == {runs.curve}


def test_stages_in_use_stay(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(one for one in stage_entries(runs.root) if one.path == runs.lost)
    with locked(runs.lost):
        assert cleaned(runs, "--all", "--older-than", "30d", "--yes") == {
            runs.trained, *runs.blocks, runs.score, runs.curve,
        }  # fmt: skip
        assert "kept: 1 in use" in capsys.readouterr().out
        assert not remove_stage(entry) and (runs.lost / "done.json").is_file()
    assert remove_stage(entry) and not runs.left()


def test_what_a_running_cell_has_used_stays(runs: Runs) -> None:
    unused(runs.curve, 10)  # used since the cell began, 20 days ago
    with locked(runs.cell):
        assert cleaned(runs, "--yes", "--all") == {runs.trained, *runs.blocks, runs.score, runs.lost}
    assert cleaned(runs, "--yes") == {runs.curve}


def test_what_a_killed_training_left_is_not_finished(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs.store.stage_folder("distil", {"seed": 8})
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"x" * 1000)
    assert cleaned(runs, "--older-than", "1d", "--yes") == {runs.curve, runs.lost}
    assert cleaned(runs, "--yes") == {folder}
    assert f"removed  1 kB  distil/{folder.name} (not finished)" in capsys.readouterr().out


def test_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    direct = next(one for one in assets().values() if one.fetch == "direct")
    manual = next((one for one in assets().values() if one.fetch == "manual"), None)
    paths = [tmp_path / "files" / one.id / one.file for one in (direct, manual) if one and one.file]
    for path in [*paths, tmp_path / "partial" / "a--b.part"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 2000)
    old = time.time() - 40 * DAY
    os.utime(paths[0], (old, old))
    assert main(["clean", "--assets", "--older-than", "30d"]) == 0
    assert f"would remove  2 kB  {direct.id}  unused for 40 d" in capsys.readouterr().out
    assert paths[0].is_file()
    assert main(["clean", "--assets", "--yes"]) == 0
    assert "a/b (part of a transfer)" in capsys.readouterr().out
    assert [path.is_file() for path in paths] == [False, True][: len(paths)]
    assert main(["clean", "--assets", "--yes", "--all"]) == 0
    assert not any(path.is_file() for path in paths)


def test_limits_take_the_longest_unused_first() -> None:
    entries = [Entry(Path(str(i)), str(i), 10 * i, used=float(-i)) for i in range(4)]
    kept = Entry(Path("k"), "k", 1000, used=-99.0, kept="needed")
    assert [one.name for one in Limits().chosen([*entries, kept], 0.0)] == ["3", "2", "1", "0"]
    assert [one.name for one in Limits(older_than=2).chosen([*entries, kept], 0.0)] == ["3", "2"]
    assert [one.name for one in Limits(keep=1030).chosen([*entries, kept], 0.0)] == ["3"]


@pytest.mark.parametrize(
    ("text", "found"), [("10GB", 10**10), ("1.5 kb", 1500), ("7", 7), ("2t", 2 * 10**12)]
)
def test_sizes_are_read(text: str, found: int) -> None:
    assert parse_size(text, "--keep") == found


def test_bad_words_are_refused(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_span("2w", "--older-than") == 14 * DAY
    for bad in ("soon", "3", "-1d"):
        with pytest.raises(UsageError, match=r"--older-than: found .* expected a time"):
            parse_span(bad, "--older-than")
    with pytest.raises(UsageError, match=r"--keep: found 'much', expected a size"):
        parse_size("much", "--keep")
    assert main(["clean", "--runs", str(tmp_path), "--yes"]) == 2
    assert "not a folder of runs" in capsys.readouterr().err
    assert main(["clean", "--runs", str(runs.root), "--keep", "1", "--larger-than", "1"]) == 2
    assert "choose one of the two" in capsys.readouterr().err
