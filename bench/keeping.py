"""How a training keeps its weights: whole in every process, or in shards (``bench.distributed.in_shards``).

What depends on it: snapshots, which are whole files either way, and checkpoints. The folder of a stage holds
``checkpoint.pt``, or a folder ``checkpoint-ITERATION`` of shards; whoever goes on reads the later of the two.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from baselines.diffusion.tangent import weight_derivative

ONE_FILE, SHARDS, PARTIAL = "checkpoint.pt", "checkpoint-", ".checkpoint.partial"
State = dict[str, Any]


class Keeping(Protocol):
    """Called by all processes of a training, in the same order.

    Attributes:
        sharded: no process holds the weights whole.
    """

    sharded: bool

    def keep(self, network: nn.Module) -> None:
        """Take charge of a network or module of the training, in place."""

    def lent(self, network: nn.Module) -> Any:
        """A context inside which a network that others use too is kept."""

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors, from what ``state_dict`` of a kept network gives."""

    def broken(self, tensors: Mapping[str, Tensor]) -> str | None:
        """The first name whose tensor holds a number that is not finite."""

    def derivative(self, network: nn.Module, direction: Mapping[str, Tensor], *args: Any) -> Tensor:
        """See ``baselines.diffusion.tangent.weight_derivative``."""

    def write(self, folder: Path, state: State) -> None:
        """Write a training's state, whole or not at all."""

    def assist(self, folder: Path, state: State) -> None:
        """What a process that does not lead does when the state is written."""

    def read(self, place: Path) -> State:
        """The state that a checkpoint holds, whichever way it was kept."""

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Give a kept network weights that were read."""

    def fitted(self, state: State, optimizer: torch.optim.Optimizer) -> State:
        """A state of an optimiser that was read, as the optimiser keeps its own."""


class Whole:
    """Every process holds all weights; a checkpoint is one file, which the leading process writes."""

    sharded = False

    def keep(self, network: nn.Module) -> None:
        """Nothing to do."""

    @contextmanager
    def lent(self, network: nn.Module) -> Iterator[None]:
        yield

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.detach().contiguous() for name, value in tensors.items()}

    def broken(self, tensors: Mapping[str, Tensor]) -> str | None:
        return next((name for name, value in tensors.items() if not torch.isfinite(value).all()), None)

    def derivative(self, network: nn.Module, direction: Mapping[str, Tensor], *args: Any) -> Tensor:
        return weight_derivative(network, direction, *args)

    def write(self, folder: Path, state: State) -> None:
        partial = folder / PARTIAL
        clear(partial)
        torch.save(state, partial)
        partial.replace(folder / ONE_FILE)
        drop(folder, but=folder / ONE_FILE)

    def assist(self, folder: Path, state: State) -> None:
        """The leading process writes."""

    def read(self, place: Path) -> State:
        return one_file(place) if place.name == ONE_FILE else whole_from_shards(place)

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        network.load_state_dict(weights)

    def fitted(self, state: State, optimizer: torch.optim.Optimizer) -> State:
        return state


WHOLE = Whole()


def one_file(place: Path) -> State:
    """The state that a checkpoint in one file holds."""
    state: State = torch.load(place, weights_only=True)
    return state


def whole_from_shards(place: Path) -> State:
    """The state that a folder of shards holds, with whole tensors."""
    from bench.distributed.shard_files import read_shards  # torch.distributed, which few trainings need

    return read_shards(place, lambda shape, dtype: torch.empty(shape, dtype=dtype))


def latest(folder: Path) -> Path | None:
    """Where the latest checkpoint of a stage lies; there are two if a change between forms was cut short."""
    place, shards = folder / ONE_FILE, shard_folders(folder)
    if not place.is_file():
        return shards[-1] if shards else None
    if shards and iteration_of(shards[-1]) > one_file(place)["context"]["iteration"]:
        return shards[-1]
    return place


def shard_folders(folder: Path) -> list[Path]:
    """Checkpoints in shards, the oldest first (who is killed may leave more than one)."""
    return sorted((path for path in folder.glob(f"{SHARDS}*") if path.is_dir()), key=iteration_of)


def iteration_of(place: Path) -> int:
    """The iteration that a folder of shards is named after."""
    return int(place.name.removeprefix(SHARDS))


def drop(folder: Path, but: Path | None = None) -> None:
    """Remove every checkpoint of a stage, but one."""
    for place in (folder / ONE_FILE, folder / PARTIAL, *shard_folders(folder)):
        if place != but:
            clear(place)


def clear(place: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
