"""From the stand-in of a network to the state dict that torch would have given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.storages import Piece
from baselines.checkpoints.unpickle import Container, Persistent

MODULES = 100_000  # far above any published network; a crafted pickle can be nested without end


def state_dict(module: Persistent | Container) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, in torch's order.

    Raises:
        CheckpointError: the object is not built as torch modules are.
    """
    left = [MODULES]
    return dict(_entries(module, "", left))


def _entries(module: object, prefix: str, left: list[int]) -> Iterator[tuple[str, Tensor]]:
    left[0] -= 1
    if left[0] < 0 or prefix.count(".") > 50:
        raise CheckpointError("holds modules nested without end")
    if not isinstance(module, Persistent | Container):
        raise CheckpointError(f"holds {prefix or 'something'} that is no module of a network")
    transient = module.state.get("_non_persistent_buffers_set") or ()
    own = [*_part(module, "_parameters").items()]
    own += [(name, value) for name, value in _part(module, "_buffers").items() if name not in transient]
    for name, value in own:
        if isinstance(value, Piece):
            yield f"{prefix}{name}", value.tensor()
        elif value is not None:
            raise CheckpointError(f"holds {prefix}{name} that is no tensor")
    for name, child in _part(module, "_modules").items():
        if child is not None:
            yield from _entries(child, f"{prefix}{name}.", left)


def _part(module: Persistent | Container, key: str) -> dict[str, Any]:
    found = module.state.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise CheckpointError(f"holds a module whose {key} are no dictionary")
    return found
