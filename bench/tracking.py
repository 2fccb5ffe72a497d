"""Follows a run in TensorBoard or Weights & Biases: a reporter around the one that speaks to the person.

Both are optional and neither touches a result: what goes wrong in them is said once, and the run goes on.
Weights & Biases writes offline; nothing leaves the machine before ``wandb sync``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.cell import Cell
from bench.errors import UsageError, unknown
from bench.progress import Reporter
from bench.record import Record

POINTS = 200  # of a training at most
PROJECT = "distillbench"


class Sink(Protocol):
    """Takes the numbers of one cell."""

    def log(self, values: Mapping[str, float], work: float) -> None: ...
    def close(self) -> None: ...


Opener = Callable[[Cell, Path], Sink]  # of a cell and its folder


class TensorBoard:
    """Event files in ``tensorboard/`` of the cell's folder; the step is the work spent, in units."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.writer: Any = _imported("torch.utils.tensorboard", "tensorboard").SummaryWriter(
            str(folder / "tensorboard")
        )

    def log(self, values: Mapping[str, float], work: float) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, round(work))

    def close(self) -> None:
        self.writer.close()


class WandB:
    """An offline run of Weights & Biases in ``wandb/`` of the cell's folder, against the work spent."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.run: Any = _imported("wandb", "wandb").init(
            project=PROJECT,
            group=cell.suite.id,
            name=f"{cell.label}, {cell.budget_name}, seed {cell.seed}",
            config=cell.spec(),
            dir=str(folder),
            mode="offline",
        )
        self.run.define_metric("work")
        self.run.define_metric("*", step_metric="work")

    def log(self, values: Mapping[str, float], work: float) -> None:
        self.run.log({**values, "work": work})

    def close(self) -> None:
        self.run.finish()


TRACKERS: dict[str, tuple[str, Opener]] = {  # module that must be there, and what opens a cell's sink
    "tensorboard": ("torch.utils.tensorboard", TensorBoard),
    "wandb": ("wandb", WandB),
}


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"--track {package}: the package {package} is not usable here ({error}); "
            "pip install 'distillbench[track]'"
        ) from error


def find_tracker(name: str | None) -> Opener | None:
    """What opens the sinks of a tracker, whose package is there; None for None.

    Raises:
        UsageError: an unknown tracker, or one whose package is not installed.
    """
    if name is None:
        return None
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS, "--track")
    module, opener = TRACKERS[name]
    _imported(module, name)
    return opener


def tracked(inner: Reporter, opener: Opener | None, cells: Sequence[Cell], root: Path) -> Reporter:
    """The reporter, or one around it that also writes what a tracker shows.

    Args:
        cells: in the order they run; root: the folder of runs.
    """
    return inner if opener is None else Tracked(inner, opener, cells, root)


class Tracked:
    """Hands everything on to ``inner``, and scalars of trainings, curves and rows to a sink for each cell."""

    def __init__(self, inner: Reporter, opener: Opener, cells: Sequence[Cell], root: Path) -> None:
        self.inner, self.opener, self.cells, self.root = inner, opener, cells, root
        self.number, self.sink, self.broken = 0, None, False

    sink: Sink | None

    def started(self, label: str, number: int, total: int) -> None:
        self.number = number
        self.inner.started(label, number, total)

    def stage(self, label: str, stage: str) -> None:
        self.inner.stage(label, stage)

    def training(self, label: str) -> Callable[[float, dict[str, float]], None]:
        then, noted, budget = self.inner.training(label), -1.0, self.cells[self.number].budget.work

        def report(share: float, scalars: dict[str, float]) -> None:
            nonlocal noted
            then(share, scalars)
            if share - noted >= 1 / POINTS:
                noted = share
                self._log({f"train/{name}": value for name, value in scalars.items()}, share * budget)

        return report

    def finished(self, label: str, record: Record, cached: bool = False) -> None:
        self.inner.finished(label, record, cached)
        if cached:
            return
        for point in record.curve:
            self._log({f"curve/{k}, steps {point.steps}": v for k, v in point.metrics.items()}, point.work)
        for row in record.rows:
            self._log({f"row/{k}, steps {row.steps}": v.mean for k, v in row.metrics.items()}, row.work)
        self._guarded(self._end)

    def close(self) -> None:
        self._guarded(self._end)
        self.inner.close()

    def _log(self, values: Mapping[str, float], work: float) -> None:
        def log() -> None:
            if self.sink is None:
                cell = self.cells[self.number]
                self.sink = self.opener(cell, self.root / cell.suite.id / cell.id)
            self.sink.log(values, work)

        self._guarded(log)

    def _end(self) -> None:
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.close()

    def _guarded(self, act: Callable[[], None]) -> None:
        """A tracker that fails is given up: it must not cost the cell."""
        if self.broken:
            return
        try:
            act()
        except Exception as error:
            self.broken = True
            print(f"tracking stopped: {type(error).__name__}: {error}", file=sys.stderr)
