"""The usual nested storage, read without torch's general reader: hundreds of small files make a network.

A legacy torch file of one storage is five small pickles, a count and the numbers. Only exactly that is taken;
everything else is left to ``torch.load(weights_only=True)``, which reads it or refuses it with a reason.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import torch

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
COUNT = 8  # bytes of the count before the numbers
TYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
}


class Header(pickle.Unpickler):
    """Reads plain values and the name of a type of storage, nothing else."""

    def find_class(self, module: str, name: str) -> torch.dtype:
        """The numbers of a storage type."""
        if module != "torch" or name not in TYPES:
            raise pickle.UnpicklingError("another name")
        return TYPES[name]

    def persistent_load(self, pid: Any) -> Any:
        """The description of the storage, as it is."""
        return pid


def plain_storage(raw: bytes) -> tuple[torch.UntypedStorage, torch.dtype] | None:
    """The storage in legacy bytes with the type of its numbers; None for anything but exactly one storage."""
    file = io.BytesIO(raw)
    header = Header(file)
    try:
        magic, version, system, described, keys = (header.load() for _ in range(5))
        kind, dtype, key, _, count, view = described
        start = file.tell() + COUNT
        if (magic, version, kind, view, keys) != (MAGIC, VERSION, "storage", None, [key]):
            return None
        if not isinstance(dtype, torch.dtype) or type(count) is not int or not system["little_endian"]:
            return None
    except Exception:  # the general reader says what is wrong
        return None
    stated = int.from_bytes(raw[start - COUNT : start], "little")
    if stated != count or len(raw) != start + count * dtype.itemsize:
        return None
    numbers = torch.empty(count * dtype.itemsize, dtype=torch.uint8)
    numbers.numpy()[:] = np.frombuffer(raw, np.uint8, offset=start)
    return numbers.untyped_storage(), dtype
