"""Claims of child processes: a true one is believed, a tampered one is not, at the key that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tiny import MISBEHAVING, tiny_suite

from bench.cell import student_cells
from bench.events import Events
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.plugins.belief import Disbelief, believed
from bench.progress import PlainReporter
from bench.record import write_record
from bench.stages import Bench, CellStages
from bench.store import Store
from bench.suite import load_suite


@dataclass(frozen=True)
class Made:
    """A cell run in this process, and the claim that a child would have written."""

    stages: CellStages
    claim: dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, threads = tmp_path_factory.mktemp("claims"), torch.get_num_threads()
    torch.set_num_threads(1)
    plugin = folder / "misbehaving.py"
    plugin.write_text(MISBEHAVING)
    suite = load_suite(str(tiny_suite(folder, **{"work = 9_000": "work = 2_000"})))
    (cell,), _ = student_cells(suite, MethodRegistry((plugin,)), ("good",), "standard", (1,), 1)
    store = Store(folder / "runs")
    bench = Bench(Lab.open(suite), store, PlainReporter(lambda line: None), "bench run")
    place = store.cell_folder(suite.id, cell.id)
    stages = CellStages(bench, cell, place, Events(place / "events.jsonl"))
    write_record(stages.record(), folder / "claim.json")
    torch.set_num_threads(threads)
    return Made(stages, json.loads((folder / "claim.json").read_text()))


def judged(made: Made, folder: Path, claim: object) -> Any:
    path = folder / "record.json"
    path.write_text(claim if isinstance(claim, str) else json.dumps(claim))
    return believed(path, made.stages)


def test_a_true_claim_is_believed(made: Made, tmp_path: Path) -> None:
    record = judged(made, tmp_path, made.claim)
    found = json.loads(record.model_dump_json())
    assert {**found, "provenance": None} == {**made.claim, "provenance": None}


def test_what_the_parent_knows_is_not_taken_from_the_claim(made: Made, tmp_path: Path) -> None:
    claim = json.loads(json.dumps(made.claim))
    claim["provenance"].update(code_sha="0" * 40, dirty=False, teacher_sha256="0" * 64, device="a faster one")
    claim["command"], claim["notes"], claim["paper"] = "bench run --forged", ["believe me"], "forged2030"
    claim["rows"][0]["metrics"]["swd"].update(mean=0.0, std=0.0, ci95=[0.0, 0.0])
    record = judged(made, tmp_path, claim)
    assert record.provenance.teacher_sha256 == made.stages.lab.teacher_sha256
    assert (record.command, record.notes, record.paper) == ("bench run", [], "none")
    true = made.claim["rows"][0]["metrics"]["swd"]
    assert record.rows[0].metrics["swd"].mean == pytest.approx(true["mean"])


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """An edit: the last argument at the keys before it."""
    *keys, last, value = path

    def edit(claim: dict[str, Any]) -> None:
        for key in keys:
            claim = claim[key]
        claim[last] = value

    return edit


EDITS = {
    "another cell": (put("cell", "0" * 16), "key 'cell'"),
    "another label": (put("label", "sid"), "key 'label'"),
    "another budget": (put("budget", "full"), "key 'budget'"),
    "another seed": (put("seed", 7), "key 'seed'"),
    "other options": (put("config", {"lr": 1}), "key 'config'"),
    "a status of the parent's": (put("status", "lost"), "key 'status'"),
    "failed without failure": (put("status", "failed"), "does not go with failure"),
    "an unknown key": (put("rank", 1), "record: key 'rank'"),
    "no rows": (put("rows", []), "key 'rows'"),
    "steps not asked for": (put("rows", 0, "steps", 2), "expected step counts 1"),
    "a smaller nfe": (put("rows", 0, "nfe", 0), "key 'rows.0.nfe': found 0.0"),
    "no calls": (put("rows", 0, "nfe_by_role", {"student": 0.0}), "key 'rows.0.nfe'"),
    "free work": (put("rows", 0, "work", -1.0), "key 'rows.0.work'"),
    "a larger budget": (put("cost", "budget", 1e9), "key 'cost.budget'"),
    "less work": (put("cost", "work", 10.0), "key 'cost.work'"),
    "hidden overshoot": (put("cost", "overshoot", 0.5), "key 'cost.overshoot'"),
    "more images": (put("cost", "images", 1), "key 'cost.images'"),
    "no cost": (put("cost", None), "key 'cost'"),
    "an untrained student": (put("cost", "forwards_by_role", {}), "expected a trained student"),
    "another student": (put("rows", 0, "student_sha256", "0" * 64), "student_sha256"),
    "other samples": (put("rows", 0, "samples_sha256", "0" * 64), "samples_sha256"),
    "a better score": (put("rows", 0, "metrics", "swd", "values", 0, 0.0), "these samples score"),
    "a missing repeat": (put("rows", 0, "metrics", "swd", "values", [1.0]), "expected 2 finite ones"),
    "an invented metric": (
        put("rows", 0, "metrics", "beauty", {"mean": 1.0, "std": 0.0, "ci95": None, "values": [1.0, 1.0]}),
        "beauty 1.0, but these samples score None",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_tampered_claim_is_not_believed(name: str, made: Made, tmp_path: Path) -> None:
    edit, expected = EDITS[name]
    claim = json.loads(json.dumps(made.claim))
    edit(claim)
    with pytest.raises(Disbelief) as caught:
        judged(made, tmp_path, claim)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[" * 100_000, '{"schema_version": 1}', "\x00"])
def test_a_broken_claim_is_not_believed(text: str, made: Made, tmp_path: Path) -> None:
    with pytest.raises(Disbelief):
        judged(made, tmp_path, text)


def test_a_huge_claim_is_not_read(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plugins.belief.CLAIM_BYTES", 100)
    with pytest.raises(Disbelief, match="bytes, expected at most 100"):
        judged(made, tmp_path, made.claim)


def test_a_failure_is_taken_over_shortened(made: Made, tmp_path: Path) -> None:
    claim = json.loads(json.dumps(made.claim))
    claim["status"], claim["rows"] = "failed", []
    claim["failure"] = {"stage": "distil", "kind": "k" * 500, "message": "m" * 9000, "traceback": "t" * 9000}
    record = judged(made, tmp_path, claim)
    assert record.status == "failed" and not record.rows and record.failure is not None
    assert [len(x) for x in (record.failure.kind, record.failure.message)] == [80, 2000]


@pytest.mark.parametrize("place", ["../../elsewhere", "/tmp", "stages/samples/absent"])
def test_files_outside_the_store_are_not_looked_at(made: Made, tmp_path: Path, place: str) -> None:
    path = made.stages.folder / "stages.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(before), "samples-1": place}))
        with pytest.raises(Disbelief, match="expected a folder of the store"):
            judged(made, tmp_path, made.claim)
    finally:
        path.write_text(before)


def test_samples_exchanged_in_the_store_are_seen(made: Made, tmp_path: Path) -> None:
    noted = json.loads((made.stages.folder / "stages.json").read_text())["samples-1"]
    file = made.stages.store.root / noted / "samples.safetensors"
    before = file.read_bytes()
    try:
        save_file({"samples": np.zeros((200, 2))}, file)
        with pytest.raises(Disbelief, match="samples_sha256"):
            judged(made, tmp_path, made.claim)
    finally:
        file.write_bytes(before)
