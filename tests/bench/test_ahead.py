"""Batches read ahead are those that are asked for, whatever is asked next."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bench.ahead import Ahead
from bench.cell import student_cells
from bench.lab import Lab
from bench.meter import Meter
from bench.methods import MethodRegistry
from bench.suite import load_suite

MAIN = threading.get_ident()


class Source:
    """Says what was read, and notes who read it."""

    def __init__(self) -> None:
        self.readers: dict[int, int] = {}
        self.read = threading.Semaphore(0)

    def __call__(self, number: int, size: int) -> str:
        self.readers[number] = threading.get_ident()
        self.read.release()
        if number == 3:
            raise ValueError("batch 3 is damaged")
        return f"{number} of {size}"


def test_the_next_batch_is_read_before_it_is_asked_for() -> None:
    source = Source()
    ahead = Ahead(source)
    assert ahead(0, 8) == "0 of 8"
    for _ in range(2):
        assert source.read.acquire(timeout=30)
    assert source.readers[0] == MAIN != source.readers[1]
    assert [ahead(n, 8) for n in (1, 2)] == ["1 of 8", "2 of 8"]
    assert source.readers[1] == source.readers[2]


def test_a_training_that_goes_on_elsewhere_gets_its_batch() -> None:
    ahead = Ahead(Source())
    assert [ahead(*asked) for asked in ((0, 8), (5, 8), (6, 4), (6, 4))] == [
        "0 of 8", "5 of 8", "6 of 4", "6 of 4",
    ]  # fmt: skip


def test_an_error_comes_with_its_batch() -> None:
    ahead = Ahead(Source())
    assert [ahead(n, 8) for n in (1, 2)] == ["1 of 8", "2 of 8"]
    for _ in range(2):
        with pytest.raises(ValueError, match="batch 3 is damaged"):
            ahead(3, 8)
    assert ahead(4, 8) == "4 of 8"


def test_files_are_read_ahead_and_drawn_data_is_not() -> None:
    lab: Any = Lab.open(load_suite("gmm2d"))
    cells, _ = student_cells(lab.suite, MethodRegistry(), ("lcm",), "quick", (1, 4), 1)
    assert not isinstance(lab.context(cells[0], Meter()).draw, Ahead)
    object.__setattr__(lab, "suite", load_suite("imagenet64"))
    assert isinstance(lab.context(cells[0], Meter()).draw, Ahead)
