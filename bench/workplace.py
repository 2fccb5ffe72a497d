"""Where cells are run: the device, the lab and the runner that a request asks for, in this process."""

from __future__ import annotations

import torch

from bench.cell import Cell
from bench.compiling import check_compiler
from bench.errors import UsageError
from bench.lab import Lab
from bench.plugins.apart import Apart
from bench.progress import Reporter
from bench.request import Request, resolve
from bench.runner import Runner
from bench.stages import Bench
from bench.store import Store
from bench.suite import Suite


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
    if suite.pipeline is not None:
        return
    if suite.model is not None:  # a published protocol's law of labels holds where there are classes
        return
    found, expected = suite.protocol.labels, "balanced" if classes else "none"
    if found != expected:
        raise UsageError(
            f"suite {suite.name}: key 'protocol.labels': found {found!r}, expected {expected!r}, "
            f"since the data of teacher {suite.teacher!r} has {classes or 'no'} classes; correct the file"
        )


def open_runner(request: Request, suite: Suite, reporter: Reporter, *, patient: bool = False) -> Runner:
    """Load what the suite needs and take a place at its store.

    Args:
        patient: wait for a stage that another process of the same run makes, however long it takes.

    Raises:
        UsageError, AssetError: see ``Lab.open``, ``choose_device`` and ``Store``.
    """
    if request.threads:
        torch.set_num_threads(request.threads)
    store = Store(request.out, patient=patient)
    lab = Lab.open(suite, choose_device(request.device), checkpointing=request.checkpointing)
    check_labels(lab)
    if request.compiled:
        check_compiler(lab)
    how = {"compiled": request.compiled, "sharded": request.sharded}
    bench = Bench(lab, store, reporter, request.command, **how)
    memory = request.memory_mib and request.memory_mib * 2**20
    return Runner(bench, Apart(bench, memory) if request.isolate else None)


def open_cells(request: Request, reporter: Reporter, *, patient: bool = False) -> tuple[Runner, list[Cell]]:
    """The runner and the cells of a request from another process, resolved with the code that is here.

    Raises:
        UsageError, AssetError: see ``resolve`` and ``open_runner``.
    """
    suite, cells, _ = resolve(request)
    return open_runner(request, suite, reporter, patient=patient), cells
