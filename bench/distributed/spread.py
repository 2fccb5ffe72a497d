"""A network call shared out by rows, exact in values and gradients.

Each rank evaluates its rows and receives the others' outputs, so that a method sees the whole batch and needs
to know nothing. In the backward pass each rank takes its rows of the gradient; gradients of inputs are put
together again, those of weights are summed, in one exchange for each call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call

from baselines.diffusion.cond import Cond
from bench.distributed.group import Group
from bench.keeping import Keeping, State, Whole
from bench.meter import ALONE, Sharing


class MyRows(Function):
    """Rows of this rank; the gradient is that of all rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.count = group, len(x)
        return x[group.rows(len(x))].contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.group.gathered(grad, ctx.count), None


class AllRows(Function):
    """All rows from those of the ranks; the gradient is that of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, group: Group, count: int) -> Tensor:
        ctx.group, ctx.count = group, count
        return group.gathered(mine, count)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[ctx.group.rows(ctx.count)].contiguous(), None, None


class SharedWeights(Function):
    """Weights as they are; their gradients are summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, group: Group, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        ctx.set_materialize_grads(True)
        return tuple(weight.view_as(weight) for weight in weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.group.summed(grads)


class WholeOnAll(Whole):
    """Whole weights on every rank; a checkpoint is removed when all have read it, or is read by none."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def read(self, place: Path) -> State:
        return self.group.all_or_none(lambda: super(WholeOnAll, self).read(place))


class Calls(nn.Module):
    """A module whose forward calls a method by name, so that its weights can be exchanged for that call."""

    def __init__(self, module: nn.Module, calls: Sharing) -> None:
        super().__init__()
        self.module, self.calls = module, calls

    def forward(self, method: str, *args: Any, **kwargs: Any) -> Tensor:
        return self.calls.call(self.module, method, *args, **kwargs)


class Spread:
    """Shares the calls of a training out over a group (``bench.meter.Sharing``).

    Args:
        calls: how each rank makes its own.
    """

    def __init__(self, group: Group, calls: Sharing = ALONE) -> None:
        self.group, self.calls = group, calls
        self.slack, self.processes = calls.slack, group.size
        self.keeps: Keeping = WholeOnAll(group)

    def call(self, module: nn.Module, method: str, *args: Any, **kwargs: Any) -> Tensor:
        """``module.method(*args)`` for a batch, its rows shared out over the ranks.

        Args:
            args, kwargs: batches (tensors and conditions with as many rows as the first one) and values for
                all.
        """
        group, count = self.group, len(args[0])
        mine = [_mine(group, value, count) for value in args]
        named = {key: _mine(group, value, count) for key, value in kwargs.items()}
        whole: Tensor = AllRows.apply(self._mine(module, method, mine, named), group, count)
        return whole

    def _mine(self, module: nn.Module, method: str, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
        """The call for this rank's rows; in the backward pass weights receive the gradients of all."""
        trained = {f"module.{n}": p for n, p in module.named_parameters() if p.requires_grad}
        if not (trained and torch.is_grad_enabled()):
            return self.calls.call(module, method, *args, **kwargs)
        weights = dict(zip(trained, SharedWeights.apply(self.group, *trained.values()), strict=True))
        out: Tensor = functional_call(Calls(module, self.calls), weights, (method, *args), kwargs)
        return out

    def agreed(self, value: bool) -> bool:
        return bool(self.group.tell(value))


def _mine(group: Group, value: Any, count: int) -> Any:
    """This rank's rows of a batch; anything else as it is."""
    if isinstance(value, Cond):
        return value[group.rows(count)]
    if isinstance(value, Tensor) and value.ndim and len(value) == count:
        return MyRows.apply(value, group)
    return value
