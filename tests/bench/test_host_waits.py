"""A training step queues its work and waits for no number: on a GPU, each look at one empties the queue."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.cell import student_cells
from bench.lab import Lab
from bench.making import training_of
from bench.methods import MethodRegistry
from bench.suite import load_suite
from bench.training import Training

pytestmark = pytest.mark.usefixtures("one_thread")
LOOKS = {  # operations whose result, or its size, the host must know
    "aten._local_scalar_dense.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
    "aten.masked_select.default",
    "aten.nonzero.default",
    "aten._unique2.default",
}
MOST = {  # of an iteration; the runner itself looks at each scalar that it logs
    "sid": 0,
    "dmd": 0,
    "dmd2[steps=1]": 1,  # the step that the batch is trained at, drawn before anything is queued
    "lcm": 0,
    "progressive": 0,
    "moment_matching[steps=4]": 0,
    "moment_matching[steps=4,variant=instant]": 0,
}


class Looks(TorchDispatchMode):
    """Counts the operations for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in LOOKS:
            self.counted[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab.open(load_suite("gmm2d"))


def training(lab: Lab, label: str, folder: Path) -> Training:
    """Past its first iteration, in which DMD samples its pairs."""
    (cell, *_), _ = student_cells(lab.suite, MethodRegistry(), (label,), "quick", (1, 2, 4, 8), 1)
    small = {"pairs": 512, "pair_steps": 2, "real_batches": 1}
    known = {key: value for key, value in small.items() if key in type(cell.config).model_fields}
    shrunk = replace(cell, config=cell.config.model_copy(update=known))
    made = training_of(lab, shrunk, folder, lambda *_: None)
    made.iterate()
    return made


@pytest.mark.parametrize("label", MOST)
def test_steps_do_not_wait(label: str, lab: Lab, tmp_path: Path) -> None:
    made = training(lab, label, tmp_path)
    with Looks() as looks:
        for _ in range(2):
            made.method.step(made.context.next_batch())
            made.context.advance()
    assert sum(looks.counted.values()) <= 2 * MOST[label]


def test_a_step_that_waits_is_seen(lab: Lab, tmp_path: Path) -> None:
    made = training(lab, "lcm", tmp_path)
    with Looks() as looks:
        for value in made.method.step(made.context.next_batch()).values():
            assert isinstance(value, torch.Tensor) and float(value) > 0
    assert sum(looks.counted.values()) == 1
