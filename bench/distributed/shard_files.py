"""Checkpoints in shards (``torch.distributed.checkpoint``): a folder that every rank writes its part of.

    checkpoint-ITERATION/   __RANK_0.distcp ...   tensors in shards, by key
                            .metadata             where each part lies; a pickle of torch's
                            rest.pt               everything else, keys in the place of tensors in shards

A folder is written under another name and gets its own when it is whole. Reading executes no pickle: tensors
and the rest are read with ``weights_only``, the metadata by a reader that makes nothing but what they consist
of. Any number of processes reads what any number wrote.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from bench.distributed.group import Group
from bench.errors import BenchError
from bench.keeping import PARTIAL, SHARDS, State, clear, drop

REST, KEY = "rest.pt", "in shards"
CLASSES = {  # all that the metadata of tensors consist of
    "pathlib": {"Path", "PosixPath", "WindowsPath"},
    "torch": {"Size"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    "torch.serialization": {"_get_layout"},
}  # fmt: skip


class PlainUnpickler(pickle.Unpickler):
    """Reads metadata of a checkpoint and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of those that metadata consist of, or a precision."""
        found = getattr(torch, name, None) if module == "torch" else None
        if isinstance(found, torch.dtype):
            return found
        if name not in CLASSES.get(module, ()):
            raise pickle.UnpicklingError(
                f"the metadata ask for {module}.{name}, which they do not consist of"
            )
        return super().find_class(module, name)


class PlainReader(FileSystemReader):
    """Reads the files of a checkpoint without executing what is in them."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as stream:
            metadata = PlainUnpickler(stream).load()
        if not isinstance(metadata, Metadata):
            raise TypeError(f"metadata: found {type(metadata).__name__}")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def write_shards(folder: Path, state: State, group: Group) -> None:
    """Write a state as a folder of shards, whole or not at all; older checkpoints go.

    Every rank calls it; what fails on one fails on all.
    """
    tensors: dict[str, Tensor] = {}
    rest = _parted(state, "", tensors)
    partial, place = folder / PARTIAL, folder / f"{SHARDS}{state['context']['iteration']}"
    if group.tell(place.is_dir()):  # the state of an iteration is always the same
        return

    def prepared() -> None:
        if group.leads:
            clear(partial)
            partial.mkdir()

    def written() -> None:
        try:
            save(tensors, checkpoint_id=partial)
        except CheckpointException as error:  # which is no Exception
            raise next(cause for cause, _ in error.failures.values()) from error

    def finished() -> None:
        if group.leads:
            torch.save(rest, partial / REST)
            partial.replace(place)
            drop(folder, but=place)

    group.all_or_none(prepared)
    group.all_or_none(written)
    group.all_or_none(finished)


def read_shards(place: Path, empty: Callable[[torch.Size, torch.dtype], Tensor]) -> State:
    """The state in a folder of shards, its tensors as ``empty(shape, precision)`` makes them.

    Raises:
        BenchError: a file is missing or damaged.
    """
    try:
        rest = torch.load(place / REST, weights_only=True)
        reader = PlainReader(place)
        metadata = reader.read_metadata()
        tensors: dict[str, Any] = {
            key: _made(metadata.state_dict_metadata[key], empty) for key in _keys(rest)
        }
        _fill(tensors, reader, metadata)
        state: State = _joined(rest, tensors)
        return state
    except Exception as error:
        said = (str(error).splitlines() or ["no more is known"])[0]
        raise BenchError(f"shards are missing or damaged, {type(error).__name__}: {said}") from error


def _fill(tensors: dict[str, Any], reader: FileSystemReader, metadata: Metadata) -> None:
    """Read what this process needs of each tensor; it asks no other, as torch's own ``load`` would."""
    planner = DefaultLoadPlanner()
    planner.set_up_planner(tensors, metadata, is_coordinator=True)
    reader.set_up_storage_reader(metadata, is_coordinator=True)
    plan = reader.prepare_local_plan(planner.create_local_plan())
    (plan,) = reader.prepare_global_plan(planner.create_global_plan([plan]))
    reader.read_data(planner.finish_plan(plan), planner).wait()


def _made(metadata: Any, empty: Callable[[torch.Size, torch.dtype], Tensor]) -> Tensor:
    if not isinstance(metadata, TensorStorageMetadata):
        raise TypeError(f"found {type(metadata).__name__}, expected a tensor")
    return empty(metadata.size, metadata.properties.dtype)


def _parted(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    """A state with keys in the place of its tensors in shards, which are put aside under these keys."""
    if isinstance(value, DTensor):
        tensors[key] = value.detach()
        return (KEY, key)
    if isinstance(value, dict):
        return {name: _parted(one, f"{key}/{name}", tensors) for name, one in value.items()}
    if isinstance(value, list):
        return [_parted(one, f"{key}/{n}", tensors) for n, one in enumerate(value)]
    return value


def _keys(rest: Any) -> Iterator[str]:
    """Keys of the tensors in shards."""
    if isinstance(rest, tuple) and len(rest) == 2 and rest[0] == KEY:
        yield rest[1]
    elif isinstance(rest, dict | list):
        for one in rest.values() if isinstance(rest, dict) else rest:
            yield from _keys(one)


def _joined(rest: Any, tensors: dict[str, Tensor]) -> Any:
    """A state with its tensors in the place of their keys."""
    if isinstance(rest, tuple) and len(rest) == 2 and rest[0] == KEY:
        return tensors[rest[1]]
    if isinstance(rest, dict):
        return {name: _joined(one, tensors) for name, one in rest.items()}
    if isinstance(rest, list):
        return [_joined(one, tensors) for one in rest]
    return rest
