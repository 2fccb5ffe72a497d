"""What is asked of a run, and the cells that follow from it.

A request is plain values, so that another process, on this machine or another, resolves it to the same cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from bench.cell import Cell, reference_cells, student_cells
from bench.errors import BenchError
from bench.methods import MethodRegistry
from bench.needed import without_absent_data
from bench.suite import Suite, load_suite


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line (see ``bench.cli.run`` for the fields)."""

    suite: str
    methods: tuple[str, ...] = ()
    budget: str = "standard"
    nfe: tuple[int, ...] | None = None
    seeds: int | None = None
    device: str = "auto"
    out: Path = Path("runs")
    plugins: tuple[Path, ...] = ()
    metrics: tuple[str, ...] = ()
    threads: int | None = None
    references: bool = True
    students: bool = True
    smoke: bool = False
    fail_fast: bool = False
    yes: bool = False
    offline: bool = False
    isolate: bool = True
    memory_mib: int | None = None
    protocol: str | None = None
    track: str | None = None
    jobs: int = 1
    launcher: str = "local"
    slurm: tuple[str, ...] = ()
    processes: int | None = None
    checkpointing: bool = False
    compiled: bool = False
    sharded: bool = False
    command: str = "bench run"

    def to_json(self) -> str:
        """As another process is told of it."""
        return TypeAdapter(Request).dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> Request:
        """From ``to_json``."""
        return TypeAdapter(Request).validate_json(text)


def recognised(cells: Sequence[Cell], cell: str) -> Cell:
    """The cell of an id among those that were resolved here.

    Raises:
        BenchError: none has it, since a file is not what it was where the cell was asked for.
    """
    for one in cells:
        if one.id == cell:
            return one
    ids = ", ".join(one.id for one in cells)
    raise BenchError(
        f"{cells[0].label}: found cell {ids}, expected {cell}: a file was changed during the run; run again"
    )


def smoke_version(suite: Suite) -> Suite:
    """The same suite with tiny budgets and samples, under a protocol id of its own: never a result."""
    size = suite.smoke
    protocol = suite.protocol.smoke(size.samples, size.batch)
    budgets = {name: b.model_copy(update={"work": size.work}) for name, b in suite.budgets.items()}
    methods = {name: size.shrunk(name, preset) for name, preset in suite.methods.items()}
    return suite.model_copy(update={"protocol": protocol, "budgets": budgets, "methods": methods})


def resolve(request: Request) -> tuple[Suite, list[Cell], list[str]]:
    """Suite, cells in the order they run, and notes.

    Raises:
        UsageError: see ``student_cells``.
    """
    suite = load_suite(request.suite)
    if request.protocol:
        suite = suite.under(request.protocol)
    if request.smoke:
        suite = smoke_version(suite)
    registry = MethodRegistry(request.plugins)
    strict = request.nfe is not None and len(request.methods) == 1
    students, notes = student_cells(
        suite,
        registry,
        request.methods,
        request.budget,
        request.nfe or suite.nfe,
        request.seeds or suite.seeds,
        strict=strict,
    )
    references = reference_cells(suite, request.budget) if request.references else []
    cells, left = without_absent_data(suite, [*references, *(students if request.students else [])])
    return suite, cells, notes + left
