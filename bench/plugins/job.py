"""What a child process is told: one cell, by its label, to be resolved again and recognised by its id."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.cell import Cell, student_cells
from bench.methods import MethodRegistry
from bench.request import recognised
from bench.suite import Suite


class Job(BaseModel):
    """One cell of a run, for another process on this machine.

    Attributes:
        suite: with everything the run set on it (a smoke run's sizes, say).
        plugin: path given with ``--plugin``, or None for an installed method.
        cell: id that the resolved cell must have.
        folder: of the cell; claim: file for its record; out: folder of runs.
        memory_bytes: that the cell may take beside what the bench itself takes.
        checkpointing: whether its networks make activations again.
        compiled: whether they are compiled for the training.
        patient: whether it waits for stages that other cells of the run make.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: Suite
    plugin: Path | None
    label: str
    budget: str
    steps: tuple[int, ...]
    seed: int
    cell: str
    device: str
    threads: int
    out: Path
    folder: Path
    claim: Path
    memory_bytes: int
    checkpointing: bool
    compiled: bool
    patient: bool
    command: str

    def resolve(self) -> Cell:
        """The cell.

        Raises:
            BenchError: it has another id here, since a file was edited after the run began.
        """
        registry = MethodRegistry((self.plugin,) if self.plugin else ())
        found, _ = student_cells(self.suite, registry, (self.label,), self.budget, self.steps, self.seed + 1)
        return recognised(found, self.cell)
