"""What stages of text-to-image suites are keyed by: what captions say and pictures show, not file names."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from coco_miniature import CAPTIONS, LONG, NAME, XL_NAME, rewritten, smoke

from bench import training_data
from bench.assets.places import cache_root
from bench.cell import Cell, student_cells
from bench.errors import AssetError
from bench.evaluation import evaluator_for
from bench.events import Events
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.progress import PlainReporter
from bench.prompt_evaluation import judges
from bench.request import Request, resolve
from bench.runner import Runner
from bench.scene_evaluation import ScenesEvaluator
from bench.stages import Bench, CellStages, surroundings
from bench.store import Store
from bench.suite import Suite, load_suite

pytestmark = pytest.mark.usefixtures("one_thread", "no_files")
OTHER = [*reversed(CAPTIONS), LONG]


class Keyed(Exception):
    """Stops a stage where its key is known."""


class Keys(Store):
    """A store that makes nothing."""

    def stage(self, kind: str, inputs: dict[str, Any], make: Any) -> Path:
        raise Keyed(json.dumps(inputs))


def bench_of(suite: Suite, folder: Path) -> Bench:
    """A bench of a suite."""
    return Bench(Lab.open(suite), Keys(folder / "runs"), PlainReporter(lambda line: None), "")


def elsewhere(bench: Bench) -> Bench:
    """The same on files as they are now, as on a machine that has seen no others."""
    (cache_root() / "assets.lock.json").unlink(missing_ok=True)
    for cached in (judges, training_data._kept):
        cached.cache_clear()
    return replace(bench, lab=replace(bench.lab, evaluator=evaluator_for(bench.lab.suite)))


def key(bench: Bench, cell: Cell, stage: str, *arguments: Any) -> dict[str, Any]:
    """Inputs of a stage of a cell."""
    stages = CellStages(bench, cell, bench.store.root, Events(bench.store.root / "events.jsonl"))
    with pytest.raises(Keyed) as caught:
        getattr(stages, stage)(*arguments)
    return dict(json.loads(str(caught.value)))


def changes(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Names under which two dictionaries differ."""
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


def trained(suite: str, method: str, steps: int) -> Cell:
    """The cell of a method that serves so many steps."""
    return resolve(Request(suite, methods=(method,), nfe=(steps,), references=False, smoke=True))[1][0]


def test_another_list_of_captions_is_drawn_and_scored_anew(xl_cache: Path, tmp_path: Path) -> None:
    """Of the same length, under the same name, in a zip whose digest nobody pins."""
    path = next((xl_cache / "files" / "data/coco10k-dmd2").iterdir())
    solver, anchor = (
        next(cell for cell in resolve(Request(XL_NAME, smoke=True))[1] if cell.kind == kind)
        for kind in ("solver", "anchor")
    )
    bench, drawn, made, real = bench_of(smoke(XL_NAME), tmp_path), [], [], []
    for captions in ([*CAPTIONS, LONG], OTHER):
        rewritten(path, captions)
        bench = elsewhere(bench)
        drawn.append(key(bench, solver, "sample", None, 4, 10, 8))
        real.append(key(bench, anchor, "sample", None, 0, 10, 8))
        made.append(surroundings(bench))
    assert changes(*drawn) == {"captions"} and drawn[0]["captions"] == made[0]["captions"]
    assert made[0]["captions"] != made[1]["captions"]
    assert "captions" not in real[0] and real[0]["pictures"] == made[0]["reference"]


def test_other_pictures_or_captions_are_another_training(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cell = cache / "files" / "data/laion-625-pictures", trained(NAME, "lcm", 4)
    bench = bench_of(smoke(), tmp_path)
    keys = [key(bench, cell, "distil")]
    with monkeypatch.context() as patch:
        patch.setattr(
            training_data, "_pictures", lambda folder: pytest.fail("unchanged files were read again")
        )
        assert key(elsewhere(bench), cell, "distil") == keys[0]
    picture, index = folder / "0.jpg", folder / "metadata.jsonl"
    picture.write_bytes(picture.read_bytes()[:-1] + b"\0")
    keys.append(key(elsewhere(bench), cell, "distil"))
    index.write_text(index.read_text().replace(CAPTIONS[0], CAPTIONS[0][::-1]))
    keys.append(key(elsewhere(bench), cell, "distil"))
    assert changes(*keys[:2]) == changes(*keys[1:]) == {"data"}
    made = Runner(bench, None)._made_from(cell)
    assert made["with"]["data"] == keys[-1]["data"], "the record of another training counts no more"


def test_renamed_and_moved_pictures_are_the_same_training(cache: Path) -> None:
    folder = cache / "files" / "data/laion-625-pictures"
    before = training_data.pictures_sha256(folder)
    moved = folder.rename(folder.with_name("elsewhere"))
    (moved / "0.jpg").rename(moved / "nought.jpg")
    index = moved / "metadata.jsonl"
    index.write_text(index.read_text().replace("0.jpg", "nought.jpg"))
    assert training_data.pictures_sha256(moved) == before


def test_a_method_without_data_is_keyed_by_its_captions(cache: Path, tmp_path: Path) -> None:
    path, cell = next((cache / "files" / "captions/laion-6.25").iterdir()), trained(NAME, "sid", 1)
    bench = bench_of(smoke(), tmp_path)
    first = key(bench, cell, "distil")
    (cache / "files" / "data/laion-625-pictures" / "0.jpg").unlink()
    assert key(elsewhere(bench), cell, "distil") == first, "it sees no picture"
    path.write_bytes(pickle.dumps(OTHER))
    assert changes(first, key(elsewhere(bench), cell, "distil")) == {"data"}


def test_a_lost_picture_is_one_sentence_and_no_result(cache: Path, tmp_path: Path) -> None:
    cell = trained(NAME, "lcm", 4)
    (cache / "files" / "data/laion-625-pictures" / "0.jpg").unlink()
    with pytest.raises(
        AssetError, match=r"0\.jpg: cannot be read \(No such file .*\); expected a picture of"
    ):
        training_data.training_data(cell)
    record = Runner(bench_of(smoke(), tmp_path), None).run(cell)
    assert record.status == "failed" and record.failure is not None
    assert record.failure.stage == "distil" and "0.jpg: cannot be read" in record.failure.message


@pytest.mark.parametrize("name", ["gmm2d", "shapes"])
def test_what_code_draws_adds_nothing_to_a_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScenesEvaluator, "reference_sha256", "not drawn here")
    suite = load_suite(name)
    cell = student_cells(suite, MethodRegistry(), ("lcm",), "quick", (4,), 1)[0][0]
    bench, more = bench_of(suite, tmp_path), {"pipeline"} if suite.pipeline else set()
    assert set(key(bench, cell, "distil")) == more | {
        "method", "config", "preset", "budget", "seed", "teacher", "code", "device",
    }  # fmt: skip
    assert set(key(bench, cell, "sample", None, 4, 0, 8)) == more | {
        "source", "what", "config", "steps", "seed", "count", "labels", "code", "device",
    }  # fmt: skip
    assert Runner(bench, None)._made_from(cell)["with"] == surroundings(bench)
    assert set(surroundings(bench)) == {
        "training", "sampling", "scoring", "teacher", "extractor", "reference", "device",
    }  # fmt: skip
