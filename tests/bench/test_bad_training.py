"""What a method cannot be trained on: no data, no labels, lost pairs, numbers that are not finite."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny import MISBEHAVING, tiny_suite

from bench.anatomy import BATCH, short_config
from bench.catalog import SHIPPED
from bench.cli import main
from bench.context import RunContext
from bench.lab import Lab
from bench.meter import Meter
from bench.methods import MethodRegistry
from bench.record import Record, read_record
from bench.selector import parse_selector
from bench.suite import load_suite

SELECTORS = [m.name for m in SHIPPED if not m.wraps] + [
    f"{m.name}[base={base}]" for m in SHIPPED for base in m.wraps
]
PLUGIN = (
    MISBEHAVING
    + """

class Peeks(Base):
    name = "peeks"
    needs = Needs(data=False)


class ByLabel(Base):
    name = "bylabel"
    needs = Needs(data=True, labels=True)


class Infinite(Base):
    name = "infinite"

    def trouble(self, loss):
        return {"loss": loss.detach(), "critic_loss": float("inf") if self.context.iteration == 2 else 0.0}
"""
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return path


def run(folder: Path, *words: str, suite: Path | str | None = None) -> int:
    """A run into ``folder/runs``; on the tiny suite if none is given."""
    named = str(suite or tiny_suite(folder))
    out = str(folder / "runs")
    words = ("--no-references", "--threads", "1", "--no-isolate", *words)
    return main(["run", "--suite", named, "--out", out, *words])


def only_record(folder: Path) -> Record:
    (path,) = folder.glob("runs/*/*/record.json")
    return read_record(path)


def failure(folder: Path, stage: str = "distil") -> str:
    """Message of the one failed row."""
    record = only_record(folder)
    assert record.failure is not None and record.failure.stage == stage and not record.rows
    return record.failure.message


# ------------------------------------------------------------------ no data


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_data_free_run_is_refused_by_what_needs_data_and_serves_the_rest(selector: str) -> None:
    cls, lab = MethodRegistry().resolve(parse_selector(selector))[0].cls, Lab.open(load_suite("gmm2d"))
    draw, meter = partial(lab.entry.draw, 0), Meter()
    context = RunContext(lab.space, draw, meter, budget=1e9, batch_size=BATCH, seed=0, data_free=True)
    method = cls(lab.teacher(meter), short_config(cls), context)
    if not cls.needs.data:
        method.step(context.next_batch())
        assert meter.work() > 0
        return
    with pytest.raises(RuntimeError, match=r"carry no images; declare Needs\(data=True\)"):
        method.step(context.next_batch())


def test_a_method_that_hides_its_need_of_data_is_a_failed_row(
    tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--plugin", str(plugin), "--method", "peeks") == 1
    assert "its batches carry no images; declare Needs(data=True)" in failure(tmp_path)
    assert "Traceback" not in "".join(capsys.readouterr())


# ------------------------------------------------------------------ no labels


def test_a_method_that_needs_labels_is_refused_where_there_are_none(
    tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--plugin", str(plugin), "--method", "bylabel")
    assert run(tmp_path, *words, suite="gmm2d") == 2
    assert capsys.readouterr().err == (
        "error: --method bylabel: needs class labels, but the data of suite gmm2d@1.0 has none; "
        "choose a class-conditional suite\n"
    )
    assert not (tmp_path / "runs").exists()


def test_a_method_that_needs_labels_is_planned_where_there_are_some(plugin: Path) -> None:
    from bench.cell import student_cells

    suite, registry = load_suite("digits"), MethodRegistry((plugin,))
    (cell,), notes = student_cells(suite, registry, ("bylabel",), "quick", (1,), 1)
    assert cell.label == "bylabel" and not notes


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("gmm2d", 'labels = "none"', 'labels = "balanced"', "found 'balanced', expected 'none'"),
        ("digits", 'labels = "balanced"', 'labels = "none"', "found 'none', expected 'balanced'"),
    ],
)
def test_a_protocol_that_does_not_fit_the_labels_of_the_data(
    name: str, old: str, new: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import resources

    text = (resources.files("bench") / "suites" / f"{name}.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    assert run(tmp_path, "--method", "sid", suite=tmp_path / "mine.toml") == 2
    line = capsys.readouterr().err
    assert f"suite {name}: key 'protocol.labels': {expected}" in line and "correct the file" in line
    assert not list(tmp_path.glob("runs/*/*/*"))


# ------------------------------------------------------------------ pairs


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DMD stopped after its 64 pairs and one training step, with its checkpoint."""
    from bench.training import Training

    whole = Training.iterate

    def stops(self: Training) -> dict[str, float]:
        if self.context.iteration == 3:
            self.save()
            raise KeyboardInterrupt
        return whole(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "iterate", stops)
        assert run(folder, "--method", "dmd") == 130
    (checkpoint,) = folder.glob("runs/stages/distil/*/checkpoint.pt")
    return checkpoint


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (0, "found 0 teacher-sampled pairs, expected 64: pairs were lost"),
        (40, "found 40 teacher-sampled pairs, expected 64"),
    ],
)
def test_a_resume_with_lost_pairs_is_refused(
    left: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = interrupted(tmp_path, monkeypatch)
    state = torch.load(checkpoint, weights_only=True)
    pairs = state["method"]["pairs"]
    assert len(pairs["z"]) == 64
    state["method"] = {"pairs": {k: v[:left] for k, v in pairs.items()}} if left else {}
    torch.save(state, checkpoint)
    before = checkpoint.read_bytes()
    assert run(tmp_path, "--method", "dmd") == 1
    message = failure(tmp_path)
    assert f"checkpoint.pt: damaged checkpoint (ValueError: {expected}" in message
    assert message.endswith(f"delete {checkpoint.parent} to start over")
    assert checkpoint.read_bytes() == before and not (checkpoint.parent / "done.json").exists()


def test_a_resume_with_all_pairs_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path, monkeypatch)
    assert run(tmp_path, "--method", "dmd") == 0
    assert only_record(tmp_path).status == "ok"


def test_a_checkpoint_that_lacks_a_part_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = interrupted(tmp_path, monkeypatch)
    state = torch.load(checkpoint, weights_only=True)
    del state["context"]["optimizers"]
    torch.save(state, checkpoint)
    assert run(tmp_path, "--method", "dmd") == 1
    assert "checkpoint.pt: damaged checkpoint (KeyError: 'optimizers'); delete" in failure(tmp_path)


# ------------------------------------------------------------------ not finite


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("nan", "iteration 3: loss is nan"),
        ("infinite", "iteration 2: critic_loss is inf"),
        ("nanweight", "weight model.noise_in.weight of student is not finite"),
    ],
)
def test_what_is_not_finite_stops_the_run_with_its_last_finite_state(
    method: str, expected: str, tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--plugin", str(plugin), "--method", method) == 1
    assert only_record(tmp_path).status == "diverged"
    message = failure(tmp_path)
    assert message.startswith("iteration ") and expected in message
    (folder,) = tmp_path.glob("runs/stages/distil/*")
    assert not (folder / "done.json").exists() and not list(folder.glob("*.partial"))
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert state["context"]["iteration"] <= 4
    for weights in state["context"]["networks"].values():
        assert all(torch.isfinite(value).all() for value in weights.values())
    (status,) = tmp_path.glob("runs/*/*/status.json")
    assert json.loads(status.read_text())["status"] == "diverged"
    assert "Traceback" not in "".join(capsys.readouterr())
