"""Weights in shards: every rank keeps some rows of each tensor, and a block's are gathered while it runs.

``torch.distributed.tensor.DTensor`` holds the shards, so that optimisers, averages, norms of gradients and
checkpoints see whole tensors. Gathering is written here and not FSDP2's, because methods copy networks,
published networks have numbers as parameters, the frozen weights of low-rank students are buffers, and the
teacher is whole again afterwards: none of which FSDP2 takes.

The arithmetic is that of one process: a block runs on its whole weights, and each rank keeps its rows of the
sum of all ranks' gradients. Whole weights are let go after the block ran, and gathered again one by one where
the backward pass asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from bench.distributed.group import Group
from bench.distributed.layout import Layout


class Run:
    """One run of a block: its weights, whole while it runs and once more for its backward pass."""

    def __init__(self, shards: Shards, weights: Sequence[DTensor]) -> None:
        self.shards, self.weights = shards, weights
        self.versions = [weight._version for weight in weights]
        self.kept = self.asked = 0  # views that autograd keeps, and has asked for in this backward pass
        self.whole: list[Tensor] | None = None

    def again(self, number: int) -> Tensor:
        """A whole weight: the first asked for gathers all, the last lets them go.

        Raises:
            RuntimeError: the weight was changed since.
        """
        weight = self.weights[number]
        if weight._version != self.versions[number]:
            raise RuntimeError(
                f"a weight of shape {tuple(weight.shape)} was changed between a forward pass and its "
                "backward pass; step the optimiser after all backward passes that need the old weights"
            )
        whole = self.whole if self.whole is not None else self.shards.constant(self.weights)
        self.asked += 1
        done = self.asked >= self.kept
        self.whole, self.asked = (None, 0) if done else (whole, self.asked)
        return whole[number]


@dataclass(frozen=True)
class Again:
    """What autograd keeps of a view of a whole weight: how to make it again."""

    run: Run
    number: int
    shape: Sequence[int]
    stride: Sequence[int]
    offset: int


class Shards:
    """Makes shards of tensors, and whole tensors of shards, over a group; one for all networks of a training.

    Args:
        mesh: of the group's ranks, in their order.
    """

    def __init__(self, group: Group, mesh: DeviceMesh) -> None:
        self.group, self.mesh = group, mesh
        self.present: dict[int, tuple[Run, int]] = {}  # by storage: whole weights of blocks that run

    def __deepcopy__(self, memo: Any) -> Shards:
        return self  # copies of a network are kept by the same

    # ------------------------------------------------------------------ tensors

    def part(self, whole: Tensor) -> DTensor:
        """This rank's rows of a tensor that all ranks have."""
        layout = Layout.of(whole)
        return self._of(layout.own(whole.detach(), self.group.rank, self.group.size).clone(), layout)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> DTensor:
        """A tensor in shards whose values are not set."""
        layout = Layout(tuple(shape), tuple(range(len(shape))))
        rows = [layout.count(self.group.rank, self.group.size)] if shape else []
        own = torch.empty(*rows, *shape[1:], dtype=dtype, device=self.mesh.device_type)
        return self._of(own, layout)

    def _of(self, own: Tensor, layout: Layout) -> DTensor:
        place = Shard(0) if layout.shape else Replicate()
        found: DTensor = DTensor.from_local(
            own, self.mesh, [place], run_check=False, shape=torch.Size(layout.shape), stride=layout.stride
        )
        return found

    def whole(self, weights: Sequence[DTensor]) -> list[Tensor]:
        """Whole tensors, whose gradients are summed over the ranks and end as shards."""
        layouts = [Layout.of(weight) for weight in weights]
        local = [weight.to_local() for weight in weights]
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
            return list(Gathered.apply(self, layouts, *local))
        return self.gathered(local, layouts)

    @torch.no_grad()
    def constant(self, weights: Sequence[DTensor]) -> list[Tensor]:
        """Whole tensors without gradients."""
        return self.whole(weights)

    def gathered(self, local: Sequence[Tensor], layouts: Sequence[Layout]) -> list[Tensor]:
        """Whole tensors from the shards of all ranks, in one exchange for each precision."""
        found = list(local)
        for places in _by_dtype(local, layouts):
            mine = torch.cat([layouts[n].padded(local[n], self.group.size) for n in places])
            columns = [layouts[n].length(self.group.size) for n in places]
            for n, part in zip(places, self.group.rows_of_all(mine).split(columns, dim=1), strict=True):
                found[n] = layouts[n].joined(part)
        return found

    def summed(self, grads: Sequence[Tensor], layouts: Sequence[Layout]) -> list[Tensor]:
        """This rank's shards of the sums over ranks of whole tensors, in one exchange for each precision."""
        rank, size = self.group.rank, self.group.size
        found = list(grads)
        for places in _by_dtype(grads, layouts, numbers=True):
            parts = [layouts[n].dealt(grads[n], size) for n in places]
            mine = self.group.own_row_summed(torch.cat(parts, dim=1))
            for n, part in zip(places, mine.split([p.shape[1] for p in parts]), strict=True):
                found[n] = layouts[n].shard(part, rank, size)
        return found

    # ------------------------------------------------------------------ what autograd keeps

    @contextmanager
    def running(self, weights: Sequence[DTensor], whole: Sequence[Tensor]) -> Iterator[None]:
        """Inside, autograd is known to keep whole weights where it keeps their storage."""
        keys, run = [tensor.untyped_storage()._cdata for tensor in whole], Run(self, weights)
        self.present.update((key, (run, number)) for number, key in enumerate(keys))
        try:
            yield
        finally:
            for key in keys:
                del self.present[key]

    def pack(self, tensor: Tensor) -> Tensor | Again:
        """What autograd keeps of a tensor."""
        found = self.present.get(tensor.untyped_storage()._cdata)
        if found is None:
            return tensor
        run, number = found
        run.kept += 1
        return Again(run, number, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def unpack(self, kept: Tensor | Again) -> Tensor:
        """The tensor again; see ``Run.again``."""
        if isinstance(kept, Tensor):
            return kept
        return kept.run.again(kept.number).as_strided(kept.shape, kept.stride, kept.offset)


class Gathered(Function):
    """Whole weights from shards; their gradients are summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, shards: Shards, layouts: list[Layout], *local: Tensor) -> tuple[Tensor, ...]:
        ctx.shards, ctx.layouts = shards, layouts
        ctx.set_materialize_grads(False)
        whole = shards.gathered(local, layouts)
        whole = [w.view_as(w) if w is mine else w for w, mine in zip(whole, local, strict=True)]
        trained = ctx.needs_input_grad[2:]
        ctx.mark_non_differentiable(*[w for w, needed in zip(whole, trained, strict=True) if not needed])
        return tuple(whole)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        there = [n for n, grad in enumerate(grads) if grad is not None and ctx.needs_input_grad[n + 2]]
        sums = ctx.shards.summed([grads[n] for n in there], [ctx.layouts[n] for n in there])
        found: list[Tensor | None] = [None] * len(grads)
        for n, total in zip(there, sums, strict=True):
            found[n] = total
        return None, None, *found


def _by_dtype(
    tensors: Sequence[Tensor], layouts: Sequence[Layout], *, numbers: bool = False
) -> list[list[int]]:
    """Places of the tensors that cross together; single numbers, which every rank has, only when asked."""
    groups: dict[torch.dtype, list[int]] = {}
    for n, (tensor, layout) in enumerate(zip(tensors, layouts, strict=True)):
        if layout.shape or numbers:
            groups.setdefault(tensor.dtype, []).append(n)
    return list(groups.values())
