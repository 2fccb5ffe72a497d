"""Who does what: rank 0 runs the cells and writes, the others take part in trainings, samples and scores.

A method that fails does so on every rank at the same place, since all of them compute the same; so a failed
cell costs nothing else here either. A rank that is lost ends all of them: torchrun starts them again, and
they go on from the checkpoint.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from bench.cell import Cell
from bench.compiling import calls_of
from bench.distributed.group import Group
from bench.distributed.spread import Spread
from bench.evaluator import InParts
from bench.events import Events, Heartbeat
from bench.lab import Lab
from bench.making import Student, draw_block, load_released, load_snapshot, training_of
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
        self.group = group

    def _train(self, folder: Path) -> None:
        self.group.tell(("train", self.cell.id, str(folder.resolve())))
        report = Heartbeat(self.folder, self.events, self.reporter.training(self.cell.label))
        share = share_of(self.group, self.lab, compiled=self.compiled, sharded=self.sharded)
        train(self.lab, self.cell, folder, report, share, Training)

    def _block(
        self, snapshot: Student | None, steps: int, seed: int, count: int
    ) -> tuple[Tensor, dict[str, float]]:
        path = None if snapshot is None else str(snapshot.path.resolve())
        self.group.tell(("draw", self.cell.id, path, steps, seed, count))
        return together(self.group, self.lab, self.cell, snapshot, steps, seed, count)

    def _score(self, samples: Path, seed: int) -> dict[str, float]:
        evaluator = self.lab.evaluator
        if not isinstance(evaluator, InParts):
            return super()._score(samples, seed)
        self.group.tell(("score", self.cell.id, str(samples.resolve())))
        return evaluator.scores(looked_at(self.group, evaluator, samples))


def share_of(group: Group, lab: Lab, *, compiled: bool, sharded: bool) -> Spread:
    """How the ranks share a training."""
    if not sharded:
        return Spread(group, calls_of(compiled, lab.device))
    from bench.distributed.in_shards import SpreadInShards  # torch's tensors in shards load slowly

    return SpreadInShards(group, lab.device.type)


def train(lab: Lab, cell: Cell, folder: Path, report: Progress, share: Spread, kind: type[Training]) -> None:
    """One rank's part in a training; the teacher's network is kept as the others are for its time."""
    with share.keeps.lent(lab.net):
        training_of(lab, cell, folder, report, share, kind).run()


def follow(
    group: Group, lab: Lab, cells: dict[str, Cell], *, compiled: bool = False, sharded: bool = False
) -> None:
    """Take part in what rank 0 orders, until it says that this was all."""
    while (order := group.tell()) is not None:
        what, cell, *rest = order
        with suppress(Exception):  # rank 0 meets the same one and makes a record of it
            own = lab.of(cells[cell].suite)
            if what == "train":
                share = share_of(group, own, compiled=compiled, sharded=sharded)
                train(own, cells[cell], Path(rest[0]), lambda *_: None, share, Follower)
            elif what == "score":
                assert isinstance(own.evaluator, InParts)
                looked_at(group, own.evaluator, Path(rest[0]))
            else:
                path, *block = rest
                together(group, own, cells[cell], student_at(own, cells[cell], path), *block)


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
