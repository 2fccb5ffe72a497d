"""Memory of tensors on the CPU, where the allocator keeps no account of its peak."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of tensors made inside the block: ``live`` now, ``peak`` at most.

    A storage counts once, from the operation that makes it until it is freed; scratch memory inside an
    operation does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what is new in its results."""
        given = {storage_of(tensor)._cdata for tensor in tensors_in((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            storage = storage_of(tensor)
            key, size = storage._cdata, storage.nbytes()
            if key not in given and key not in self.known:
                self.known.add(key)
                self.live += size
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._freed, key, size)
        return result

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of the parameters and buffers of modules, each tensor once."""
    tensors = {id(t): t for module in modules for t in (*module.parameters(), *module.buffers())}
    return sum(t.nbytes for t in tensors.values())


def tensors_in(values: Any) -> list[Tensor]:
    """Tensors anywhere in nested containers."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    """What holds a tensor's numbers."""
    return tensor.untyped_storage()
