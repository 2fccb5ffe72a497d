"""Stored samples are enough: metrics come out again without the method, and the report tells copiers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import MISBEHAVING, tiny_suite

import bench
from baselines.datasets.digits import load_digits
from bench.cli import main
from bench.diagnosis import Answers, facts_of
from bench.errors import AssetError, UsageError
from bench.evaluation import DigitsEvaluator
from bench.record import read_record
from bench.stored import StoredCell


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a quick method from a file that is deleted afterwards, with its references."""
    folder, threads = tmp_path_factory.mktemp("stored"), torch.get_num_threads()
    torch.set_num_threads(1)
    plugin = folder / "misbehaving.py"
    plugin.write_text(MISBEHAVING)
    words = ["--suite", str(tiny_suite(folder)), "--method", "good", "--plugin", str(plugin), "--no-isolate"]
    assert main(["run", *words, "--out", str(folder / "runs")]) == 0
    plugin.unlink()
    torch.set_num_threads(threads)
    return folder / "runs"


def cell(runs: Path, label: str) -> Path:
    return next(p.parent for p in runs.glob("*/*/record.json") if read_record(p).label == label)


@pytest.mark.parametrize("label", ["good", "euler", "real"])
def test_metrics_come_out_again_without_the_method(runs: Path, label: str) -> None:
    folder = cell(runs, label)
    found = bench.rescore(folder)
    rows = read_record(folder / "record.json").rows
    assert sorted(found) == [row.steps for row in rows]
    for row in rows:
        assert {key: value.values for key, value in found[row.steps].items()} == {
            key: pytest.approx(value.values, rel=1e-9) for key, value in row.metrics.items()
        }


def test_any_metric_can_be_computed_of_stored_samples(runs: Path) -> None:
    def spread(samples: np.ndarray, seed: int) -> dict[str, float]:
        return {"spread": float(samples.std()), "seed": float(seed)}

    found = bench.rescore(cell(runs, "good"), score=spread)[1]
    assert found["seed"].values == [1000, 1001] and found["spread"].mean > 0
    assert len(set(found["spread"].values)) == 2  # two blocks, not one twice


def test_other_samples_than_those_of_the_record_are_refused(runs: Path, tmp_path: Path) -> None:
    copied = tmp_path / "runs"
    shutil.copytree(runs, copied)
    folder = cell(copied, "good")
    stage = copied / json.loads((folder / "stages.json").read_text())["samples-1"]
    (stage / "samples.safetensors").write_bytes(b"other")
    with pytest.raises(AssetError, match=r"sha256 found .* expected"):
        bench.rescore(folder)
    (stage / "samples.safetensors").unlink()
    with pytest.raises(AssetError, match="no such samples; run the cell again"):
        bench.rescore(folder)
    with pytest.raises(UsageError, match="expected the folder of a finished cell"):
        StoredCell.open(tmp_path)


def test_report_of_a_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--report", str(cell(runs, "good"))]) == 0
    text = capsys.readouterr().out
    assert "report on good" in text and "not ranked by" in text
    assert "teacher copies" in text and "teacher[heun]@7" in text and "chance 0.50%" in text
    assert "mode balance" in text and "least served mode" in text
    assert main(["info", "--report", str(cell(runs, "mode-means"))]) == 0
    text = capsys.readouterr().out
    assert "least served mode 0: 1.00 of its share" in text and "teacher copies" not in text
    assert main(["info", "--report", "gmm2d"]) == 2
    assert "gmm2d: expected the folder of a finished cell" in capsys.readouterr().err


def digits_facts(images: np.ndarray, answers: Answers | None = None) -> dict[str, str]:
    return dict(facts_of(DigitsEvaluator(), [images], answers))


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """200 training digits, image i of class i mod 10."""
    train, _ = load_digits()
    by_class = [train.images[train.labels == c][:20] for c in range(10)]
    return np.stack([by_class[i % 10][i // 10] for i in range(200)])


def test_a_generator_that_copies_training_images_is_seen(drawn: np.ndarray) -> None:
    found = digits_facts(drawn)
    assert found["nearest training image"].startswith("100.0%")
    _, held_out = load_digits()
    unseen = np.stack([held_out.images[held_out.labels == i % 10][i // 10] for i in range(200)])
    assert digits_facts(unseen)["nearest training image"].startswith("0.0%")


def test_a_generator_that_collapses_a_class_is_seen(drawn: np.ndarray) -> None:
    collapsed = drawn.copy()
    collapsed[3::10] = drawn[8::10]  # a three is drawn as an eight
    assert "least served class 3: 0.00 of its share" in digits_facts(collapsed)["class balance"]
    assert "least in class 3" in digits_facts(collapsed)["class coverage"]
    repeated = drawn.copy()
    repeated[5::10] = drawn[5]  # always the same five: balanced, and yet not covered
    found = digits_facts(repeated)
    assert "0.00 of its share" not in found["class balance"]
    assert "least in class 5" in found["class coverage"]


def test_a_student_that_answers_as_the_teacher_is_seen(drawn: np.ndarray) -> None:
    found = digits_facts(drawn, Answers("teacher[heun]@35", drawn))
    assert found["teacher copies"].startswith("100.0%") and "chance 5.00%" in found["teacher copies"]
    assert "teacher copies" not in digits_facts(drawn)
