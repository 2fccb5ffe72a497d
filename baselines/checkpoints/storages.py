"""Storages of tensors nested in a pickle, and the tensors that are views of them.

torch rebuilds a nested storage with a second, unrestricted unpickling. Here it is opened with
``weights_only``, and only after the outer pickle was read, so that the bytes can be let go one by one.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.inert import Immovable
from baselines.checkpoints.plain_storage import plain_storage

GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class Storage(Immovable):
    """Bytes of a nested storage, opened once."""

    __slots__ = ("_dtype", "_open", "_raw")

    def __init__(self, raw: object) -> None:
        if not isinstance(raw, bytes):
            raise CheckpointError("holds a nested storage that is no bytes")
        self._raw: bytes | None = raw
        self._open = torch.UntypedStorage()
        self._dtype = torch.float32

    def open(self) -> None:
        """Read the numbers and let go of the bytes.

        Raises:
            CheckpointError: the bytes hold anything but one storage.
        """
        assert self._raw is not None
        if (plain := plain_storage(self._raw)) is not None:
            (self._open, self._dtype), self._raw = plain, None
            return
        found = read_numbers(self._raw)
        self._raw = None
        if not isinstance(found, torch.storage.TypedStorage):
            raise CheckpointError(f"holds a nested {type(found).__name__} where a storage is expected")
        # torch deprecates the typed storages that it still writes; this is the part that stays
        self._open, self._dtype = found._untyped_storage, found.dtype

    def view(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A tensor in this storage; raises CheckpointError when it would reach beyond it."""
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= self._open.nbytes() // self._dtype.itemsize:
            raise CheckpointError("holds a tensor that is larger than its storage")
        return torch.empty(0, dtype=self._dtype).set_(self._open, offset, size, stride)


def read_numbers(source: bytes | Path) -> Any:
    """What ``torch.save`` wrote, in memory or in a file, read with ``weights_only``.

    Raises:
        CheckpointError: it asks for a global (which is named), or is damaged.
    """
    try:
        opened = io.BytesIO(source) if isinstance(source, bytes) else source
        return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        where = "inside a nested storage" if isinstance(source, bytes) else "beside its weights"
        if asked := GLOBAL.search(str(error)):
            raise CheckpointError(f"asks for {asked[1]} {where}") from None
        what = "a nested storage" if isinstance(source, bytes) else "torch weights"
        raise CheckpointError(f"holds {what} cut short or damaged, which cannot be read as numbers") from None


@dataclass(frozen=True)
class Piece(Immovable):
    """A tensor as the pickle states it: a part of a storage that may still be closed."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, storage: object, offset: object, size: object, stride: object, *_: object) -> Piece:
        """From the arguments of ``torch._utils._rebuild_tensor_v2``."""
        if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise CheckpointError("holds a tensor without storage, size or stride")
        numbers = (offset, *size, *stride)
        if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride):
            raise CheckpointError("holds a tensor of impossible size")
        assert isinstance(offset, int)
        return cls(storage, offset, size, stride)

    def tensor(self) -> Tensor:
        """The tensor itself, sharing memory with its storage."""
        return self.storage.view(self.offset, self.size, self.stride)
