"""A group whose ranks are threads of this process: the exchanges of ``Group`` without torch.distributed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.distributed.group import Group

SECONDS = 60.0  # after which a rank that waits for another gives up


class ThreadGroup(Group):
    """One rank; ``board`` holds what each rank said at the present exchange."""

    board: list[Any]
    barrier: threading.Barrier

    def everyone(self, value: Any) -> list[Any]:
        self.board[self.rank] = value
        self.barrier.wait(SECONDS)
        said = list(self.board)
        self.barrier.wait(SECONDS)
        return said

    def tell(self, value: Any = None) -> Any:
        return self.everyone(value)[0]

    def in_step(self, what: str, *, failed: bool) -> bool:
        return len(set(self.everyone(what))) == 1

    def collected(self, makers: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
        made = {n: make() for n, make in enumerate(makers) if n % self.size == self.rank}
        parts = self.everyone(made)
        return [parts[n % self.size][n] for n in range(len(makers))]

    def gathered(self, mine: Tensor, count: int) -> Tensor:
        return torch.cat(self.everyone(mine))

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [torch.stack(of_all).sum(0) for of_all in zip(*self.everyone(list(tensors)), strict=True)]


def on_ranks(size: int, work: Callable[[ThreadGroup], Any]) -> list[Any]:
    """What ``work`` returns on each rank; the first exception is raised."""
    board, barrier = [None] * size, threading.Barrier(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        group = ThreadGroup(rank, size)
        object.__setattr__(group, "board", board)
        object.__setattr__(group, "barrier", barrier)
        try:
            results[rank] = work(group)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [e for e in errors if not isinstance(e, threading.BrokenBarrierError)]
    if errors:
        raise (real or errors)[0]
    return results
