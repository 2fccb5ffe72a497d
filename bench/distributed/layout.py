"""Where the rows of a tensor lie among the ranks, and in which order its numbers cross.

Rank r of N has rows ``r c .. (r + 1) c`` with ``c = ceil(rows / N)``, as ``Shard(0)`` of torch has it; the
last ones may have fewer, or none. What crosses is padded to c rows, and keeps its order in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A tensor's shape, and its axes from the outermost in memory; rows come first.

    A single number has no rows: every rank has it.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]

    @staticmethod
    def of(tensor: Tensor) -> Layout:
        """That of a tensor, or of the whole that a ``DTensor`` is a part of."""
        stride = tensor.stride()
        inner = sorted(range(1, tensor.ndim), key=lambda axis: -stride[axis])
        return Layout(tuple(tensor.shape), (0, *inner) if tensor.ndim else ())

    @property
    def stride(self) -> tuple[int, ...]:
        """Of the whole tensor."""
        strides, step = [0] * len(self.order), 1
        for axis in reversed(self.order):
            strides[axis], step = step, step * max(1, self.shape[axis])
        return tuple(strides)

    @property
    def row(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape[1:])

    def rows(self, size: int) -> int:
        """Rows of each of ``size`` ranks, padding included."""
        return -(-self.shape[0] // size) if self.shape else 1  # rounded up

    def count(self, rank: int, size: int) -> int:
        """Rows that a rank really has."""
        return max(0, min(self.rows(size), self.shape[0] - rank * self.rows(size)))

    def length(self, size: int) -> int:
        """Numbers that each rank sends."""
        return self.rows(size) * self.row

    def own(self, whole: Tensor, rank: int, size: int) -> Tensor:
        """A rank's rows of a whole tensor."""
        if not self.shape:
            return whole
        start = min(rank * self.rows(size), self.shape[0])
        rows = whole[start : start + self.rows(size)]
        return rows.permute(self.order).contiguous().permute(self._back)

    def padded(self, own: Tensor, size: int) -> Tensor:
        """A rank's rows as one line, filled up with zeros."""
        return _filled(own.permute(self.order).reshape(len(own), self.row), self.rows(size)).flatten()

    def joined(self, lines: Tensor) -> Tensor:
        """The whole tensor, in memory of its own, from the lines of all ranks ``[size, length]``."""
        rows = lines.contiguous().view(len(lines) * self.rows(len(lines)), self.row)[: self.shape[0]]
        return rows.view([self.shape[axis] for axis in self.order]).permute(self._back)

    def dealt(self, whole: Tensor, size: int) -> Tensor:
        """A whole tensor as a line for each rank ``[size, length]``; a number goes to all."""
        if not self.shape:
            return whole.reshape(1, 1).expand(size, 1)
        rows = whole.permute(self.order).reshape(self.shape[0], self.row)
        return _filled(rows, size * self.rows(size)).view(size, self.length(size))

    def shard(self, line: Tensor, rank: int, size: int) -> Tensor:
        """A rank's rows from its line."""
        if not self.shape:
            return line.view(())
        count = self.count(rank, size)
        inner = [self.shape[axis] for axis in self.order[1:]]
        return line[: count * self.row].view(count, *inner).permute(self._back)

    @property
    def _back(self) -> list[int]:
        return [self.order.index(axis) for axis in range(len(self.order))]


def _filled(rows: Tensor, count: int) -> Tensor:
    """Rows ``[n, m]``, and zeros up to ``count`` of them."""
    return rows if len(rows) == count else torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])
