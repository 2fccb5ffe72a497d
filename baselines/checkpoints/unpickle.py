"""Reads the pickles of EDM, EDM2 and SiD without executing anything that they hold.

Such a pickle keeps the source of its own classes as text and asks the reader to run it. Here the text is
hashed and thrown away, and what the pickle asks for is looked up in an exact table: whatever is not in it
stops the reading with its name. Every value of the table is inert, so that a hostile pickle that calls it or
sets its state reaches nothing of this process.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from baselines.checkpoints.arrays import Array, NumberType, array, number
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.inert import Immovable, Inert
from baselines.checkpoints.storages import Piece, Storage

VERSION = 6  # of the persistence protocol in all published files
NON_COMMERCIAL = "Attribution-NonCommercial-ShareAlike 4.0"  # in the header of NVIDIA's sources


@dataclass(frozen=True)
class Persistent(Immovable):
    """What is kept of an object whose class is embedded as source: its name and state, never its code.

    Attributes:
        state: attributes of the object, torch's ``_parameters``, ``_buffers`` and ``_modules`` among them.
        source_sha256: digest of the embedded source text.
        noncommercial: the header of that text states CC BY-NC-SA 4.0.
    """

    class_name: str
    state: dict[str, Any]
    source_sha256: str
    noncommercial: bool

    @property
    def init_args(self) -> tuple[Any, ...]:
        """Positional arguments that the object was made with."""
        return tuple(self.state.get("_init_args") or ())

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """Keywords that the object was made with; defaults are not among them, they live in the source."""
        found = self.state.get("_init_kwargs")
        return dict(found) if isinstance(found, dict) else {}


class Container:
    """Stands for ``torch.nn.ModuleDict``: only its attributes are kept."""

    state: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise CheckpointError("holds a module whose state is no dictionary")
        self.state = state


class EasyDict(dict[Any, Any], Immovable):
    """Stands for ``dnnlib.util.EasyDict``, in which EDM2 keeps the parts of a snapshot."""


def persistent(meta: object) -> Persistent:
    """The inert stand-in for an object of an embedded class."""
    if not isinstance(meta, dict) or meta.get("type") != "class" or meta.get("version") != VERSION:
        raise CheckpointError(f"holds a persistent object that is no class of version {VERSION}")
    source, name, state = (meta.get(key) for key in ("module_src", "class_name", "state"))
    if not isinstance(source, str) or not isinstance(name, str) or not isinstance(state, dict):
        raise CheckpointError("holds a persistent object without source, name or state")
    return Persistent(name, state, *described(source))


@lru_cache(maxsize=8)  # hundreds of objects of a file share one text
def described(source: str) -> tuple[str, bool]:
    """Digest of a source text, and whether its header states the non-commercial terms."""
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return digest, NON_COMMERCIAL in " ".join(source.replace("#", " ").split())


class SafeUnpickler(pickle.Unpickler):
    """Unpickler of published networks; its ``storages`` are still closed when ``load`` returns."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        storages: list[Storage] = []
        self.storages = storages
        self._table: dict[tuple[str, str], object] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("dnnlib.util", "EasyDict"): EasyDict,
            ("torch.nn.modules.container", "ModuleDict"): Container,
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): Inert(persistent),
            ("torch.storage", "_load_from_bytes"): Inert(partial(closed, storages)),
            ("torch._utils", "_rebuild_tensor_v2"): Inert(Piece.of),
            ("torch._utils", "_rebuild_parameter"): Inert(lambda data, *_: data),
            ("numpy", "dtype"): Inert(NumberType.of),
            ("numpy", "ndarray"): Array,
        }
        for multiarray in ("numpy.core.multiarray", "numpy._core.multiarray"):
            self._table[multiarray, "scalar"] = Inert(number)
            self._table[multiarray, "_reconstruct"] = Inert(array)

    def find_class(self, module: str, name: str) -> object:
        """An inert stand-in from the exact table."""
        try:
            return self._table[module, name]
        except KeyError:
            message = f"asks for {module}.{name}, which no published file needs"
            raise CheckpointError(message) from None


def closed(storages: list[Storage], raw: object) -> Storage:
    """A storage to be opened later, put down in a list.

    It must not hold the reader, or the reader's memory of all bytes would live until the next collection.
    """
    storages.append(Storage(raw))
    return storages[-1]


def unpickle(path: Path) -> object:
    """The object in a pickle, with stand-ins for everything that is not a plain value; all storages are open.

    Raises:
        CheckpointError: the pickle asks for a name outside the table, hides something in a storage, or is
            cut short or damaged.
    """
    try:
        with path.open("rb") as file:
            reader = SafeUnpickler(file)
            found = reader.load()
            if file.read(1):
                raise CheckpointError("goes on after its end")
        storages = reader.storages
        del reader  # it remembers all bytes that it has read
        for storage in storages:
            storage.open()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: the file {error}; nothing of it was run and it is not used") from None
    except MemoryError:
        raise CheckpointError(f"{path}: the file asks for more memory than there is") from None
    except Exception as error:  # unpickling garbage can raise anything
        reason = str(error) or type(error).__name__
        raise CheckpointError(
            f"{path}: cut short or damaged, it cannot be read to its end ({reason}); fetch it again"
        ) from error
    return found
