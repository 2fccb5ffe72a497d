"""Cost of cells before they run: work units and memory from the suite, time from a measured speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.cost.calibration import Calibration
from bench.cost.reference import Reference
from bench.training import SNAPSHOT_FRACTIONS

NETWORK_COPIES = 10  # student, fake, two Adam moments of each, averages, gradients, a checkpoint on its way
FROZEN_COPIES = 5  # of weights that stay: student, fake, average, teacher, a checkpoint on its way
BACKWARDS = 3  # networks that one loss reaches the student through, with what they keep of the forward


@dataclass(frozen=True)
class Estimate:
    """Cost of one cell.

    Attributes:
        train_units, sample_units: forwards of the reference network on one sample.
        train_batch, sample_batch: samples in a call.
        train_limit: seconds that the budget allows, None for any.
    """

    cell: Cell
    train_units: float
    sample_units: float
    train_batch: int
    sample_batch: int
    train_limit: float | None

    @property
    def units(self) -> float:
        """Of training and sampling."""
        return self.train_units + self.sample_units

    def seconds(self, speed: Calibration) -> float:
        """Time on a device of measured speed."""
        train = speed.seconds(self.train_units, self.train_batch) if self.train_units else 0.0
        if self.train_limit is not None:
            train = min(train, self.train_limit)
        return train + speed.seconds(self.sample_units, self.sample_batch)

    def bytes(self, reference: Reference) -> float:
        """Networks, optimiser states and what backwards keep; not the imports, not the feature network."""
        if not self.train_units:
            return float(reference.weight_bytes + reference.frozen_bytes)
        kept = BACKWARDS * self.train_batch * reference.saved_bytes
        stay = FROZEN_COPIES * reference.frozen_bytes
        return float(NETWORK_COPIES * reference.weight_bytes + stay + kept)


def sampling_units(cell: Cell) -> float:
    """Evaluations of all rows, repeats and curve points of a cell."""
    protocol = cell.suite.protocol
    if cell.kind == "anchor":
        return 0.0
    rows = protocol.samples * protocol.repeats * sum(cell.steps) * evaluations(cell)
    points = len(SNAPSHOT_FRACTIONS) if cell.kind == "student" else 0
    return float(rows + protocol.curve_samples * points * sum(cell.steps))


def evaluations(cell: Cell) -> int:
    """Of the network in one call of what a cell samples from: two where a teacher is guided."""
    pipeline = cell.suite.pipeline
    if pipeline is None or cell.kind not in ("teacher", "solver"):
        return 1
    return 2 if (cell.guidance or pipeline.guidance) > 1 else 1


def estimates(cells: Sequence[Cell]) -> list[Estimate]:
    """Work of every cell, in order; needs no file and no measurement."""
    return [
        Estimate(
            cell=cell,
            train_units=cell.budget.work if cell.kind == "student" else 0.0,
            sample_units=sampling_units(cell),
            train_batch=cell.preset.batch if cell.preset else cell.suite.protocol.batch,
            sample_batch=cell.suite.protocol.batch,
            train_limit=cell.budget.seconds,
        )
        for cell in cells
    ]


def batch_sizes(lines: Sequence[Estimate]) -> set[int]:
    """Every batch size of some cells."""
    return {size for line in lines for size in (line.train_batch, line.sample_batch)}
