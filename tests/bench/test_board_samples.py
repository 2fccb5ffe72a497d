"""Samples kept beside a board: which, how many, of which training, and in which order they are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.datasets.scene_captions import captioned
from baselines.datasets.scenes import HELD_OUT
from bench.record import Record, read_record
from bench.report import samples
from bench.report.collect import collect
from bench.report.samples import (
    POINTS,
    first_of,
    grid_png,
    keep_samples,
    kept_samples,
    samples_file,
    shown_samples,
)
from bench.suite import load_suite

ROOT = Path(__file__).parents[2] / "leaderboards"
SUITES = ("gmm2d", "digits", "shapes")


def committed(suite: str) -> list[Record]:
    return collect(sorted((ROOT / "records" / suite).glob("*.json")), load_suite(suite))


@pytest.fixture
def record() -> Record:
    return read_record(ROOT / "records" / "gmm2d" / "sid.student.standard.seed0.json")


def test_first_samples_come_back(record: Record, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(2 * POINTS, 2)).astype(np.float32)
    path = keep_samples(record, record.rows[0], points, tmp_path)
    assert path == samples_file(record, record.rows[0], tmp_path)
    found = kept_samples(record, record.rows[0], tmp_path)
    assert found is not None and np.array_equal(found, points[:POINTS])
    before = path.read_bytes()
    keep_samples(record, record.rows[0], points, tmp_path)
    assert path.read_bytes() == before and [one.name for one in path.parent.iterdir()] == [path.name]


def test_samples_of_another_training_are_not_shown(record: Record, tmp_path: Path) -> None:
    row = record.rows[0]
    keep_samples(record, row, np.zeros((5, 2), np.float32), tmp_path)
    assert kept_samples(record, row.model_copy(update={"samples_sha256": "0" * 64}), tmp_path) is None
    second = record.model_copy(update={"seed": 1})
    assert keep_samples(second, row, np.zeros((5, 2), np.float32), tmp_path) is None
    assert kept_samples(second, row, tmp_path) is None


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((100, 1, 8, 8), (40, 1, 8, 8)),
        ((100, 3, 32, 32), (32, 3, 32, 32)),
        ((100, 3, 64, 64), (8, 3, 64, 64)),
        ((9, 3, 512, 512), (8, 3, 64, 64)),
        ((2, 3, 100, 70), (2, 3, 50, 35)),
        ((5000, 2), (POINTS, 2)),
    ],
)
def test_as_many_are_kept_as_are_shown(shape: tuple[int, ...], kept: tuple[int, ...]) -> None:
    assert first_of(np.zeros(shape, np.uint8)).shape == kept


def test_large_images_are_averaged_over_blocks() -> None:
    image = np.arange(128 * 128, dtype=np.uint64).reshape(1, 1, 128, 128) % 251
    (small,) = first_of(image.astype(np.uint8))
    assert small[0, 3, 5] == round(image[0, 0, 6:8, 10:12].mean())


def test_real_data_and_teacher_come_first_then_students_by_steps_and_score(tmp_path: Path) -> None:
    suite, records = load_suite("gmm2d"), committed("gmm2d")
    for one in records:
        for row in one.rows:
            keep_samples(one, row, np.zeros((5, 2), np.float32), tmp_path)
    names = list(shown_samples(records, suite, tmp_path))
    assert names[:2] == ["real", "teacher[heun], NFE 79"] and len(names) == samples.PANELS
    scores = {
        f"{one.label}, NFE {row.nfe}": row.metrics[suite.primary].mean
        for one in records
        if one.kind == "student" and not one.seed
        for row in one.rows
    }
    shown = [(int(name.rsplit(" ", 1)[1]), scores[name]) for name in names[2:]]
    assert shown == sorted(shown)
    for steps in (1, 2, 4, 8):  # ten panels are left: three, three, two and two of the best
        of_steps = sorted(value for name, value in scores.items() if name.endswith(f"NFE {steps}"))
        best = [value for count, value in shown if count == steps]
        assert best == of_steps[: 3 if steps < 4 else 2]


def test_quick_students_do_not_stand_beside_standard_ones(record: Record, tmp_path: Path) -> None:
    suite = load_suite("gmm2d")
    quick = record.model_copy(update={"budget": "quick", "label": "dmd"})
    for one in (record, quick):
        keep_samples(one, one.rows[0], np.zeros((5, 2), np.float32), tmp_path)
    assert list(shown_samples([record, quick], suite, tmp_path)) == ["sid, NFE 1"]
    assert list(shown_samples([quick], suite, tmp_path)) == ["dmd, NFE 1"]
    assert grid_png([], suite, tmp_path) is None


def test_captions_stand_beside_what_was_made_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[str]] = {}
    monkeypatch.setattr(samples, "prompt_grid_png", lambda tiles, said, path: drawn.update(said=said))
    suite, records = load_suite("shapes"), committed("shapes")
    grid_png(records, suite, ROOT / "shapes")
    first = [captioned(HELD_OUT, suite.protocol.seed, index).caption for index in range(8)]
    assert drawn["said"] == first


@pytest.mark.parametrize("suite", SUITES)
def test_committed_samples_belong_to_committed_rows(suite: str) -> None:
    board = ROOT / suite
    rows = [(one, row) for one in committed(suite) for row in one.rows]
    known = {samples_file(one, row, board): (one, row) for one, row in rows}
    for path in (board / "samples").glob("*"):
        assert path in known, f"{path.name} is of no committed row"
        assert kept_samples(*known[path], board) is not None, f"{path.name} is of an earlier training"
