"""Networks whose weights lie in shards: which weights are gathered together, and when.

A residual or transformer block gathers all of its weights as it starts, in one exchange, and lets them go at
its end; what is outside of blocks does so layer by layer. Weights are not there at any other time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from baselines.networks.checkpointing import BLOCKS, computes, let_compute
from bench.distributed.shards import Shards

DIFFUSERS_BLOCKS = frozenset({"BasicTransformerBlock", "ResnetBlock2D"})  # by name: it is imported late
LARGE = 2**14  # numbers of a buffer that is worth sharing out: the weights that a low-rank student keeps


@dataclass(frozen=True)
class Slot:
    """A place of a module that holds a parameter or buffer."""

    owner: nn.Module
    name: str

    @property
    def table(self) -> dict[str, Any]:
        """Where the module keeps it."""
        parameters: dict[str, Any] = self.owner._parameters
        return parameters if self.name in parameters else self.owner._buffers

    @property
    def tensor(self) -> Tensor:
        """What is there."""
        found: Tensor = self.table[self.name]
        return found

    def put(self, tensor: Tensor) -> None:
        """Put another value there, a parameter where one was."""
        is_parameter = self.table is self.owner._parameters
        needed = self.tensor.requires_grad
        self.table[self.name] = nn.Parameter(tensor, requires_grad=needed) if is_parameter else tensor

    @property
    def worth_sharing(self) -> bool:
        """Whether it is a weight: a parameter, or a large buffer of a layer."""
        layer = not any(True for _ in self.owner.children())
        is_parameter = self.table is self.owner._parameters
        return is_parameter or (layer and self.tensor.is_floating_point() and self.tensor.numel() >= LARGE)


class Gathering:
    """What a block computes, on weights that are whole for that time."""

    def __init__(self, function: Callable[..., Any], slots: Sequence[Slot], shards: Shards) -> None:
        self.function, self.slots, self.shards = function, slots, shards

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        weights: list[Any] = [slot.tensor for slot in self.slots]
        whole = self.shards.whole(weights)
        try:
            for slot, tensor in zip(self.slots, whole, strict=True):
                slot.table[slot.name] = tensor
            with self.shards.running(weights, whole):
                return self.function(*args, **kwargs)
        finally:
            for slot, weight in zip(self.slots, weights, strict=True):
                slot.table[slot.name] = weight


def put_into_shards(network: nn.Module, shards: Shards) -> None:
    """Keep the weights of a network in shards from now on; those that are so already stay.

    Raises:
        ValueError: two layers share a weight.
    """
    held = Counter(id(p) for module in network.modules() for p in module._parameters.values())
    for module, slots in blocks_of(network):
        new = [slot for slot in slots if not isinstance(slot.tensor, DTensor)]
        for slot in new:
            if slot.table is slot.owner._parameters and held[id(slot.tensor)] > 1:
                raise ValueError(
                    f"--shard: a weight of shape {tuple(slot.tensor.shape)} belongs to two layers of "
                    f"{type(network).__name__}; train this method without --shard"
                )
        for slot in new:
            slot.put(shards.part(slot.tensor))
        if new:
            let_compute(module, Gathering(computes(module), new, shards))


def put_together(network: nn.Module) -> None:
    """Undo ``put_into_shards``: all weights are whole again on every rank."""
    for module in network.modules():
        gathering = computes(module)
        if not isinstance(gathering, Gathering):
            continue
        for slot in gathering.slots:
            weight: Any = slot.tensor
            slot.put(gathering.shards.constant([weight])[0])
        let_compute(module, gathering.function)
        if getattr(vars(module)["forward"], "__func__", None) is type(module).forward:
            del module.forward


def blocks_of(module: nn.Module) -> Iterator[tuple[nn.Module, list[Slot]]]:
    """What gathers its weights together, with their places: blocks, and layers outside of blocks."""
    whole = isinstance(module, BLOCKS) or type(module).__name__ in DIFFUSERS_BLOCKS
    owners = module.modules() if whole else (module,)
    slots = [
        slot
        for owner in owners
        for name, tensor in (*owner._parameters.items(), *owner._buffers.items())
        if tensor is not None and (slot := Slot(owner, name)).worth_sharing
    ]
    if slots:
        yield module, slots
    if not whole:
        for child in module.children():
            yield from blocks_of(child)
