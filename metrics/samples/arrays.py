"""Arrays in npz and safetensors files, read a slice at a time: the file is never held in memory."""

from __future__ import annotations

import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError)  # what a broken zip raises
NAMES = ("arr_0", "samples", "images", "points", "x")  # of the array that holds the samples
LABELS = ("labels", "arr_1", "y")


class StoredArray(ABC):
    """One array of a file, sliced along its first axis.

    Attributes:
        shape: of the whole array; dtype: as stored.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def slices(self, rows: int) -> Iterator[np.ndarray]:
        """Successive slices of ``rows`` rows, the last one shorter.

        Raises:
            ValueError: the file is damaged or shorter than it says.
        """


class NpzArray(StoredArray):
    """A member of an npz file."""

    def __init__(self, path: Path, member: str) -> None:
        self.path, self.member = path, member
        self.name = f"{path}: array {member.removesuffix('.npy')!r}"
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
                self.shape, self.dtype = read_header(stream, self.name)
        except DAMAGE as error:
            raise ValueError(f"{self.name}: damaged ({error}); make the file again") from error

    def slices(self, rows: int) -> Iterator[np.ndarray]:
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                read_header(stream, self.name)
                for start in range(0, self.shape[0], rows):
                    count = min(rows, self.shape[0] - start)
                    data = stream.read(count * row)
                    if len(data) != count * row:
                        raise ValueError(
                            f"{self.name}: ends after {start + len(data) // row} of {self.shape[0]} rows"
                        )
                    yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
        except DAMAGE as error:
            raise ValueError(f"{self.name}: damaged ({error}); make the file again") from error


def read_header(stream: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type from the header of an npy stream; raises ValueError for pickles and Fortran order."""
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: not a NumPy array ({error})") from error
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects, which are never loaded; expected numbers")
    if fortran and len(shape) > 1:
        raise ValueError(f"{name}: stored in Fortran order; save it with np.ascontiguousarray")
    return shape, dtype


class TensorSlices(StoredArray):
    """A tensor of a safetensors file."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        with safe_open(path, framework="numpy") as file:
            part = file.get_slice(key)
            self.shape = tuple(part.get_shape())
            try:
                self.dtype = part[0:1].dtype
            except (TypeError, AttributeError, ValueError) as error:  # bfloat16 and the like
                raise ValueError(
                    f"{path}: tensor {key!r} is {part.get_dtype()}; expected uint8, float32 or float64"
                ) from error

    def slices(self, rows: int) -> Iterator[np.ndarray]:
        with safe_open(self.path, framework="numpy") as file:
            part = file.get_slice(self.key)
            for start in range(0, self.shape[0], rows):
                yield part[start : min(start + rows, self.shape[0])]


def open_array(path: Path, names: Sequence[str] = NAMES) -> StoredArray:
    """The array of samples in an npz or safetensors file: the first of ``names``, or the only array.

    Raises:
        ValueError: unreadable file, or none of those names among several arrays.
    """
    keys = array_names(path)
    found = next((name for name in names if name in keys), keys[0] if len(keys) == 1 else None)
    if found is None:
        wanted, have = ", ".join(names), ", ".join(keys) or "none"
        raise ValueError(f"{path}: expected an array named {wanted}; found {have}")
    return _open(path, found)


def array_names(path: Path) -> list[str]:
    """Names of the arrays in a file.

    Raises:
        ValueError: unreadable or damaged.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return list(file.keys())
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, zipfile.BadZipFile, SafetensorError) as error:
        raise ValueError(f"{path}: not readable ({error}); it is damaged or of another format") from error


def stored_labels(path: Path) -> np.ndarray | None:
    """Class labels int64 ``[N]`` beside the samples, one-hot ones decoded; None if there are none.

    Raises:
        ValueError: unreadable, or not whole numbers.
    """
    key = next((name for name in LABELS if name in array_names(path)), None)
    if key is None:
        return None
    stored = _open(path, key)
    labels = np.concatenate([*stored.slices(1 << 16)] or [np.zeros(0, np.int64)])
    if labels.ndim == 2 and labels.shape[1] > 1 and (labels.sum(axis=1) == 1).all():
        labels = labels.argmax(axis=1)
    if labels.ndim != 1 or not np.array_equal(labels, labels.astype(np.int64)):
        raise ValueError(
            f"{path}: labels {key!r}: expected whole numbers [N] or one-hot rows, found {labels.dtype} "
            f"of shape {list(labels.shape)}"
        )
    return np.asarray(labels.astype(np.int64))


def _open(path: Path, key: str) -> StoredArray:
    return TensorSlices(path, key) if path.suffix == ".safetensors" else NpzArray(path, f"{key}.npy")
