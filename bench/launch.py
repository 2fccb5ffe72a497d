"""From a request to finished cells: resolve, open the lab, run, print the leaderboard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench.assets.places import forbid_network
from bench.cell import Cell, reference_cells, student_cells
from bench.cost.consent import consent
from bench.errors import UsageError
from bench.files import find_files
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.needed import needed_files, without_absent_data
from bench.plugins.apart import Apart
from bench.progress import reporter
from bench.record import Record
from bench.runner import Runner, run_cells
from bench.stages import Bench
from bench.store import Store
from bench.suite import Suite, load_suite
from bench.tracking import find_tracker, tracked


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
    command: str = "bench run"


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


def choose_device(name: str) -> str:
    """``auto`` is the first GPU if there is one.

    Raises:
        UsageError: a device that this machine does not have.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name}: not usable here ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return name


def check_labels(lab: Lab) -> None:
    """Raise UsageError unless the protocol asks for labels where the data has them, and only there."""
    suite, classes = lab.suite, lab.space.n_classes
    if suite.model is not None:  # a published protocol's law of labels holds where there are classes
        return
    found, expected = suite.protocol.labels, "balanced" if classes else "none"
    if found != expected:
        raise UsageError(
            f"suite {suite.name}: key 'protocol.labels': found {found!r}, expected {expected!r}, "
            f"since the data of teacher {suite.teacher!r} has {classes or 'no'} classes; correct the file"
        )


def execute(request: Request) -> int:
    """Run a request; returns the exit status (1 if a cell failed)."""
    if request.offline:
        forbid_network()
    opener = find_tracker(request.track)
    suite, cells, notes = resolve(request)
    if request.threads:
        torch.set_num_threads(request.threads)
    find_files(
        needed_files(suite, cells), f"'bench prepare --suite {request.suite}' fetches what can be fetched"
    )
    store = Store(request.out)
    lab = Lab.open(suite, choose_device(request.device))
    check_labels(lab)
    watcher = tracked(reporter(), opener, cells, store.root)
    bench = Bench(lab, store, watcher, request.command)
    memory = request.memory_mib and request.memory_mib * 2**20
    runner = Runner(bench, Apart(bench, memory) if request.isolate else None)
    if not request.smoke:
        todo = [cell for cell in cells if runner.finished(cell) is None]
        runner.predicted = consent(lab, todo, agreed=request.yes)
    try:
        records = run_cells(runner, cells, fail_fast=request.fail_fast)
    except KeyboardInterrupt:
        watcher.close()
        print(
            f"interrupted; the state is saved in {request.out}. The same command resumes: {request.command}"
        )
        raise
    watcher.close()
    show(suite, records, notes)
    return int(any(record.status not in ("ok", "truncated") for record in records))


def show(suite: Suite, records: list[Record], notes: list[str]) -> None:
    """Print the leaderboard of what ran, then notes."""
    from bench.cli.leaderboard import show as as_shown
    from bench.report.table import tables

    print(as_shown(tables(records, suite), to_file=False))
    for note in notes:
        print(f"note: {note}")
