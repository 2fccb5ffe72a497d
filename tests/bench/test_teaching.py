"""Trainings of the weights that ship: killed and continued they end in the same bytes, and leave records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from baselines.datasets.mixtures import ring
from baselines.teachers.digits import digits_training
from baselines.teachers.mixture import mixture_training
from baselines.teachers.registry import load_weights
from baselines.teachers.resumable import Training
from baselines.teachers.training import TeacherRecipe
from bench.shipped import shipped_weights
from bench.teaching import Lesson, Trained, teach

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = TeacherRecipe(iterations=5, batch=8, lr=1e-3, warmup=2)


def lesson(name: str) -> Lesson:
    def begin() -> Training:
        return digits_training(RECIPE) if name == "digits" else mixture_training(ring(), RECIPE)

    def finish(training: Training) -> Trained:
        return Trained({f"{name}.safetensors": training.average}, {"note.txt": "x"}, {"told": 1})

    return Lesson(name, begin, finish, f"bench teach --suite {name}", every=3)


@pytest.mark.parametrize("name", ["digits", "gmm2d"])
def test_a_killed_training_continues_to_the_byte(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    (whole,) = teach(lesson(name), tmp_path / "a", tmp_path / "whole", said.append)
    assert teach(lesson(name), tmp_path / "b", tmp_path / "cut", said.append, stop_at=3) == []
    (cut,) = teach(lesson(name), tmp_path / "b", tmp_path / "cut", said.append)
    assert whole.read_bytes() == cut.read_bytes() and f"{name}: resumed at iteration 3 of 5" in said
    record = json.loads(whole.with_suffix(".json").read_text())
    assert record["sha256"] == hashlib.sha256(whole.read_bytes()).hexdigest()
    assert record["recipe"] | {"batch": 8, "p_mean": -1.2} == record["recipe"] and record["told"] == 1
    rows = record["history"]["rows"]
    assert [row[0] for row in rows] == [3, 5]
    assert all((row[2] is None) == (name == "gmm2d") for row in rows)  # digits have held-out data
    assert (tmp_path / "whole" / "note.txt").read_text() == "x"
    with torch.no_grad():
        built = lesson(name).begin().network
        assert load_weights(built, whole) == record["sha256"]  # type: ignore[arg-type]


def test_half_precision_is_what_is_stored(tmp_path: Path) -> None:
    one = lesson("gmm2d")

    def finish(training: Training) -> Trained:
        return Trained({"deep/in/model.safetensors": training.average}, half=True)

    (path,) = teach(Lesson("gmm2d", one.begin, finish, "", 9), tmp_path / "w", tmp_path, lambda line: None)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    (found,) = shipped_weights({"here": tmp_path})
    assert found.name == "here/deep/in/model.safetensors"
    found.verify()
    (path.parent / "config.json").write_text("{}")  # a config is no record
    assert len(shipped_weights({"here": tmp_path})) == 1
