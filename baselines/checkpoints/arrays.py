"""Stand-ins for the numbers and arrays of numpy inside published pickles; objects are refused."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.checkpoints.errors import CheckpointError

NUMBERS = re.compile(r"[biuf][1248]")


@dataclass
class NumberType:
    """Stands for ``numpy.dtype`` of plain numbers."""

    code: str
    order: str = "<"

    @classmethod
    def of(cls, code: object, *_: object) -> NumberType:
        """From the arguments that numpy pickles; raises CheckpointError for anything but plain numbers."""
        if not isinstance(code, str) or not NUMBERS.fullmatch(code):
            raise CheckpointError(f"holds an array of type {code!r}, expected plain numbers")
        return cls(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise CheckpointError("holds a type of numbers with an unknown byte order")
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        """The type itself."""
        return np.dtype(self.order + self.code)


def checked(kind: object, raw: object, count: int) -> np.ndarray:
    """Flat array of ``count`` numbers from their bytes."""
    if not isinstance(kind, NumberType) or not isinstance(raw, bytes):
        raise CheckpointError("holds an array without type or bytes")
    if len(raw) != count * kind.numpy.itemsize:
        raise CheckpointError(f"holds an array of {count} numbers in {len(raw)} bytes")
    return np.frombuffer(raw, kind.numpy)


def number(kind: object, raw: object) -> float | int | bool:
    """Stands for ``numpy.core.multiarray.scalar``."""
    value: float | int | bool = checked(kind, raw, 1)[0].item()
    return value


class Array:
    """Stands for ``numpy.ndarray``; ``value`` is read-only."""

    value: np.ndarray = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[1], tuple):
            raise CheckpointError("holds an array whose state is no array's")
        _, sizes, kind, fortran, raw = state
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise CheckpointError(f"holds an array of shape {sizes!r}")
        flat = checked(kind, raw, math.prod(sizes))
        self.value = flat.reshape(sizes, order="F" if fortran else "C")


def array(kind: object, *_: object) -> Array:
    """Stands for ``numpy.core.multiarray._reconstruct``; the content follows as state."""
    if kind is not Array:
        raise CheckpointError("holds an array of a class of its own")
    return Array()
