"""Batches that a thread reads while the training works on the one before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Ahead(Generic[Batch]):
    """A data iterator one batch ahead; batches are functions of their number, whenever they are read.

    Args:
        draw: (batch number, size) -> batch; what it raises is raised where its batch is asked for.
    """

    def __init__(self, draw: Callable[[int, int], Batch]) -> None:
        self.draw, self.pool = draw, ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.coming: dict[tuple[int, int], Future[Batch]] = {}

    def __call__(self, number: int, size: int) -> Batch:
        waiting = self.coming.pop((number, size), None)
        batch = self.draw(number, size) if waiting is None else waiting.result()
        self.coming = {(number + 1, size): self.pool.submit(self.draw, number + 1, size)}
        return batch
