"""A training whose weights lie in shards: its networks, snapshots and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from baselines.diffusion.ema import ema_update
from bench.distributed.gathering import put_into_shards, put_together
from bench.distributed.group import Group
from bench.distributed.shard_files import read_shards, write_shards
from bench.distributed.shards import Shards
from bench.distributed.spread import Spread
from bench.errors import BenchError
from bench.keeping import ONE_FILE, State, one_file

SLACK = 4.0  # what the first step may take longer: torch looks up how each operation treats shards


class InShards:
    """Weights, gradients, averages and optimiser states in shards over a group (``bench.keeping.Keeping``).

    Args:
        device: ``cuda`` or ``cpu``, where they lie.
    """

    sharded = True

    def __init__(self, group: Group, device: str) -> None:
        self.group = group
        self.shards = Shards(group, init_device_mesh(device, (group.size,)))
        self.check_torch()

    def check_torch(self) -> None:
        """Raise BenchError unless this torch does to shards what trainings do to weights and gradients."""
        try:
            weight = nn.Parameter(self.shards.part(torch.ones(3, 2)))
            weight.grad = self.shards.part(torch.ones(3, 2))
            torch.nan_to_num_(weight.grad, nan=0.0)
            nn.utils.clip_grad_norm_([weight], 1.0)
            for kind in (torch.optim.Adam, torch.optim.AdamW):
                kind([weight], lr=0.1, fused=True).step()
            ema_update(nn.ParameterList([deepcopy(weight)]), nn.ParameterList([weight]), 0.5)
        except (AttributeError, NotImplementedError, TypeError) as error:
            said = (str(error).splitlines() or [""])[0][:200]
            raise BenchError(
                f"--shard: torch {torch.__version__} cannot train tensors in shards "
                f"({type(error).__name__}: {said}); install a newer one, or leave --shard away"
            ) from error

    def keep(self, network: nn.Module) -> None:
        put_into_shards(network, self.shards)

    @contextmanager
    def lent(self, network: nn.Module) -> Iterator[None]:
        self.keep(network)
        try:
            yield
        except Exception:  # on all ranks; after an interrupt nobody needs it
            put_together(network)
            raise
        put_together(network)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors, in the memory of the CPU, where rank 0 has room for them; none on other ranks."""
        found = {}
        for name, value in tensors.items():
            tensor = value.detach()
            if isinstance(tensor, DTensor):
                (tensor,) = self.shards.constant([tensor])
            if self.group.leads:
                found[name] = tensor.contiguous().cpu()
        return found

    def broken(self, tensors: Mapping[str, Tensor]) -> str | None:
        local = {n: t.to_local() if isinstance(t, DTensor) else t for n, t in tensors.items()}
        mine = next((n for n, value in local.items() if not torch.isfinite(value).all()), None)
        names = [name for name in self.group.everyone(mine) if name is not None]
        return min(names, key=list(tensors).index, default=None)

    def derivative(self, network: nn.Module, direction: Mapping[str, Tensor], *args: Any) -> Tensor:
        raise BenchError(
            "--shard: this method differentiates a network in forward mode, which needs whole weights; "
            "leave --shard away for it"
        )

    def write(self, folder: Path, state: State) -> None:
        write_shards(folder, state, self.group)

    assist = write  # all ranks do

    def read(self, place: Path) -> State:
        def mine() -> State:
            return one_file(place) if place.name == ONE_FILE else read_shards(place, self.shards.empty)

        return self.group.all_or_none(mine)

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        own = network.state_dict()
        network.load_state_dict({name: self._like(value, own.get(name)) for name, value in weights.items()})

    def fitted(self, state: State, optimizer: torch.optim.Optimizer) -> State:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return state | {
            "state": {
                number: {key: self._like(value, parameters[number]) for key, value in values.items()}
                for number, values in state["state"].items()
            }
        }

    def _like(self, value: Any, own: Tensor | None) -> Any:
        """A value that was read as one of the training's tensors lies: in shards where that one does."""
        if not isinstance(own, DTensor) or not isinstance(value, Tensor) or value.shape != own.shape:
            return value
        if not isinstance(value, DTensor):
            value = self.shards.part(value)
        return torch.empty_like(own.detach()).copy_(value)


class SpreadInShards(Spread):
    """Shares calls out by rows, on networks whose weights lie in shards.

    Their blocks gather weights and sum gradients themselves; here autograd is kept from holding on to them.
    """

    def __init__(self, group: Group, device: str) -> None:
        super().__init__(group)
        self.slack = SLACK
        self.keeps = self.in_shards = InShards(group, device)

    def _mine(self, module: nn.Module, method: str, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
        shards = self.in_shards.shards
        with saved_tensors_hooks(shards.pack, shards.unpack):
            return self.calls.call(module, method, *args, **kwargs)
