"""Who does what: rank 0 runs the cells and writes, the others take part in trainings, samples and scores.

A method that fails does so on every rank at the same place, since all of them compute the same; so a failed
cell costs nothing else here either. A rank that is lost, or fails alone (``bench.distributed.ending``), ends
all of them: torchrun starts them again, and they go on from the checkpoint, or with the next cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from bench.cell import Cell
from bench.compiling import calls_of
from bench.distributed.ending import Part
from bench.distributed.group import Group
from bench.distributed.spread import Spread
from bench.evaluator import InParts
from bench.events import Events, Heartbeat
from bench.lab import Lab
from bench.making import Student, draw_block, load_released, load_snapshot, training_of
from bench.plugins.apart import noted
from bench.record import Record
from bench.stages import Bench, CellStages
from bench.training import Progress, Training
from metrics.measure import Seen
from metrics.samples.source import BATCH


class Follower(Training):
    """The same training as on rank 0, without its files."""

    def write_snapshot(self) -> None:
        self.check_finite()
        self.weights()  # rank 0 asks for this rank's part of them

    def save(self) -> None:
        self.check_finite()
        self.keeps.assist(self.folder, self.state())

    def finish(self) -> None:
        """Rank 0 writes what was spent."""


class LeaderStages(CellStages):
    """Stages of rank 0: it tells the others what it trains and draws, and they do it together."""

    def __init__(self, bench: Bench, cell: Cell, folder: Path, events: Events, group: Group) -> None:
        super().__init__(bench, cell, folder, events)
        self.group, self.part = group, Part(group, cell.suite, folder)

    def record(self) -> Record:
        """See ``CellStages``; a cell that ended the processes before gets a record of that."""
        found = self.part.begin()
        return super().record() if found is None else noted(self, self.events, *found)

    @contextmanager
    def _order(self, what: str, *rest: Any) -> Iterator[None]:
        """Inside, all ranks do what is ordered."""
        with self.part.of(what):
            self.group.tell((what, self.cell.id, *rest))
            yield

    def _train(self, folder: Path) -> None:
        report = Heartbeat(self.folder, self.events, self.reporter.training(self.cell.label))
        with self._order("train", str(folder.resolve())):
            share = share_of(self.group, self.lab, compiled=self.compiled, sharded=self.sharded)
            train(self.part, self.lab, self.cell, folder, report, share, Training)

    def _block(
        self, snapshot: Student | None, steps: int, seed: int, count: int
    ) -> tuple[Tensor, dict[str, float]]:
        path = None if snapshot is None else str(snapshot.path.resolve())
        with self._order("draw", path, steps, seed, count):
            return together(self.group, self.lab, self.cell, snapshot, steps, seed, count)

    def _score(self, samples: Path, seed: int) -> dict[str, float]:
        evaluator = self.lab.evaluator
        if not isinstance(evaluator, InParts):
            return super()._score(samples, seed)
        with self._order("score", str(samples.resolve())):
            seen = looked_at(self.group, evaluator, samples)
        return evaluator.scores(seen)


def share_of(group: Group, lab: Lab, *, compiled: bool, sharded: bool) -> Spread:
    """How the ranks share a training."""
    if not sharded:
        return Spread(group, calls_of(compiled, lab.device))
    from bench.distributed.in_shards import SpreadInShards  # torch's tensors in shards load slowly

    return SpreadInShards(group, lab.device.type)


def train(
    part: Part, lab: Lab, cell: Cell, folder: Path, report: Progress, share: Spread, kind: type[Training]
) -> None:
    """One rank's part in a training; the teacher's network is kept as the others are for its time."""
    with share.keeps.lent(lab.net), part.of("training"):  # who fails alone does not give the network back
        training_of(lab, cell, folder, report, share, kind).run()


def follow(group: Group, bench: Bench, cells: dict[str, Cell]) -> None:
    """Take part in what rank 0 orders, until it says that this was all."""
    while (order := group.tell()) is not None:
        what, name, *rest = order
        cell = cells[name]
        part = Part(group, cell.suite, bench.store.root / cell.suite.id / cell.id)
        with suppress(Exception), part.of(what):  # rank 0 meets the same one and makes a record of it
            carry_out(part, bench, cell, what, *rest)


def carry_out(part: Part, bench: Bench, cell: Cell, what: str, *rest: Any) -> None:
    """Do what was ordered for a cell."""
    group, lab = part.group, bench.lab.of(cell.suite)
    if what == "train":
        share = share_of(group, lab, compiled=bench.compiled, sharded=bench.sharded)
        train(part, lab, cell, Path(rest[0]), lambda *_: None, share, Follower)
    elif what == "score":
        assert isinstance(lab.evaluator, InParts)
        looked_at(group, lab.evaluator, Path(rest[0]))
    else:
        path, *block = rest
        together(group, lab, cell, student_at(lab, cell, path), *block)


def student_at(lab: Lab, cell: Cell, path: str | None) -> Student | None:
    """What rank 0 draws from."""
    if path is None:
        return None
    return load_released(lab, cell) or load_snapshot(lab, cell, Path(path))


def together(
    group: Group, lab: Lab, cell: Cell, student: Student | None, steps: int, seed: int, count: int
) -> tuple[Tensor, dict[str, float]]:
    """A block's samples, whole batches by each rank, and the evaluations of all of them."""
    x, mine = draw_block(lab, cell, student, steps, seed, count, group)
    counted: Counter[str] = Counter()
    for one in group.everyone(mine):
        counted.update(one)
    return x, dict(counted)


def looked_at(group: Group, evaluator: InParts, samples: Path) -> list[list[Seen]]:
    """What the samples of a block tell, whole batches of them by each rank, in their order."""

    def mine() -> list[Seen] | None:
        with safe_open(samples, framework="numpy") as stream:
            stored = stream.get_slice("samples")
            count = stored.get_shape()[0]
            batches = group.rows(-(-count // BATCH))  # rounded up
            start, stop = batches.start * BATCH, min(batches.stop * BATCH, count)
            return evaluator.seen(stored[start:stop], start) if start < stop else None

    return [part for part in group.everyone(group.all_or_none(mine)) if part is not None]
