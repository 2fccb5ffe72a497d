"""Batches that a thread reads while the training works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from baselines.teachers.captioned import CaptionedSource

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


class PicturesAhead:
    """Captioned pictures (``CaptionedSource``) read and decoded one batch ahead; the training encodes them.

    One training draws from it at a time: a batch of another seed begins anew.
    """

    def __init__(self, source: CaptionedSource) -> None:
        self.source, self.seed = source, 0
        self.ahead = Ahead(partial(source.batch, self.seed))

    def batch(self, seed: int, iteration: int, size: int) -> tuple[np.ndarray | None, Sequence[str]]:
        """Pictures and captions of a batch."""
        if seed != self.seed:
            self.seed, self.ahead = seed, Ahead(partial(self.source.batch, seed))
        return self.ahead(iteration, size)

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        """The same captions alone; nothing is read for them."""
        return self.source.captions(seed, iteration, size)
