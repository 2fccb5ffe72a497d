"""Tracking: what reaches TensorBoard and Weights & Biases, and that neither can cost a cell."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from record_factory import curve, record

from bench.cell import reference_cells
from bench.cli import main
from bench.errors import UsageError
from bench.progress import PlainReporter
from bench.record import Record
from bench.suite import load_suite
from bench.tracking import POINTS, find_tracker, tracked

CELLS = reference_cells(load_suite("gmm2d"), "standard")
WORK = CELLS[1].budget.work


class Writer:
    """Stands for TensorBoard's."""

    made: list[Writer] = []  # noqa: RUF012

    def __init__(self, folder: str) -> None:
        self.folder, self.points, self.closed = Path(folder), list[tuple[str, float, int]](), False
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, value, step))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    return Writer.made


def follow(name: str, root: Path, result: Record, *, cached: bool = False) -> list[str]:
    """A run of the second cell as a runner reports it; returns what the inner reporter said."""
    said: list[str] = []
    reporter = tracked(PlainReporter(said.append), find_tracker(name), CELLS, root)
    reporter.started("sid", 1, len(CELLS))
    reporter.stage("sid", "distil")
    report = reporter.training("sid")
    for i in range(0 if cached else 1001):
        report(i / 1000, {"loss": 1.0 - i / 1000})
    reporter.finished("sid", result, cached)
    reporter.close()
    return said


def test_tensorboard_gets_trainings_curves_and_rows(tmp_path: Path, tensorboard: list[Writer]) -> None:
    result = record(curve=curve(9.0))
    said = follow("tensorboard", tmp_path, result)
    [writer] = tensorboard
    assert writer.closed and writer.folder == tmp_path / "gmm2d@1.0" / CELLS[1].id / "tensorboard"
    losses = [(value, step) for name, value, step in writer.points if name == "train/loss"]
    assert POINTS / 2 < len(losses) <= POINTS + 1 and losses[0] == (1.0, 0)
    assert losses[-1][1] == pytest.approx(WORK, rel=0.01)
    assert ("curve/swd, steps 1", 9.0, 1_500_000) in writer.points
    assert ("row/swd, steps 1", 9.0, 1_500_000) in writer.points
    assert len(said) == 1 and "ok" in said[0]


def test_cells_that_are_done_are_not_written_again(tmp_path: Path, tensorboard: list[Writer]) -> None:
    assert "already done" in follow("tensorboard", tmp_path, record(), cached=True)[0]
    assert tensorboard == []


def test_wandb_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, float]] = []
    ended: list[bool] = []
    started: dict[str, Any] = {}

    def init(**options: Any) -> SimpleNamespace:
        started.update(options)
        return SimpleNamespace(
            log=logged.append, define_metric=lambda *a, **k: None, finish=lambda: ended.append(True)
        )

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    follow("wandb", tmp_path, record())
    assert started["mode"] == "offline" and started["config"] == CELLS[1].spec()
    assert started["dir"] == str(tmp_path / "gmm2d@1.0" / CELLS[1].id)
    assert logged[0] == {"train/loss": 1.0, "work": 0.0} and ended == [True]
    assert logged[-1]["row/swd, steps 1"] == 9.0 and logged[-1]["work"] == 1.5e6


def test_a_tracker_that_fails_costs_nothing(
    tmp_path: Path,
    tensorboard: list[Writer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(self: Writer, *given: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Writer, "add_scalar", full)
    assert len(follow("tensorboard", tmp_path, record())) == 1
    assert capsys.readouterr().err == "tracking stopped: OSError: the disk is full\n"


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_named_with_the_extra(
    name: str,
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    words = ["--suite", "gmm2d", "--smoke", "--out", str(tmp_path / "runs"), "--track", name]
    assert main(["run", *words]) == 2
    err = capsys.readouterr().err
    assert f"--track {name}: the package {name} is not usable here" in err and "distillbench[track]" in err
    assert not list(tmp_path.glob("runs/*@*"))


def test_no_tracker_is_no_wrapper_and_names_are_checked(tmp_path: Path) -> None:
    plain = PlainReporter()
    assert tracked(plain, find_tracker(None), CELLS, tmp_path) is plain
    with pytest.raises(UsageError, match=r"tensorbord.*tensorboard"):
        find_tracker("tensorbord")
