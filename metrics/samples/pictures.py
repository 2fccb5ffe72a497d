"""Image files, in folders and zips: listed in a fixed order, decoded one at a time, refused by name."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from metrics.protocols.record import Pixels

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
LOSSLESS = frozenset({"PNG"})
MODES = {1: "L", 3: "RGB"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)


class ImageFiles(ABC):
    """A set of image files, in the order of their names.

    Attributes:
        path: folder or zip; names: of the images, relative to it.
    """

    path: Path
    names: list[str]

    @abstractmethod
    def read(self) -> Iterator[tuple[str, bytes]]:
        """Shown name and bytes of each image.

        Raises:
            ValueError: a file cannot be read.
        """

    @abstractmethod
    def _sidecar(self) -> bytes | None:
        """Bytes of ``dataset.json``, if there is one."""

    def labels(self) -> np.ndarray | None:
        """Class labels int64 ``[N]`` from EDM's ``dataset.json``; None without it.

        Raises:
            ValueError: the file is broken, or does not name every image.
        """
        data = self._sidecar()
        if data is None:
            return None
        try:
            pairs = dict(json.loads(data)["labels"] or [])
            if not pairs:
                return None
            return np.array([pairs[name] for name in self.names], dtype=np.int64)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path}/dataset.json: expected 'labels' with a number for every image ({error!r})"
            ) from error


class FolderFiles(ImageFiles):
    """Images in a folder and the folders below it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        self.names = sorted(name for name in found if is_image(name))

    def read(self) -> Iterator[tuple[str, bytes]]:
        for name in self.names:
            try:
                yield str(self.path / name), (self.path / name).read_bytes()
            except OSError as error:
                raise ValueError(f"{self.path / name}: cannot be read ({error.strerror})") from error

    def _sidecar(self) -> bytes | None:
        file = self.path / "dataset.json"
        return file.read_bytes() if file.is_file() else None


class ZipFiles(ImageFiles):
    """Images in a zip, as EDM's data sets are stored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.all = archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not a readable zip ({error}); make it again") from error
        self.names = sorted(name for name in self.all if is_image(name))

    def read(self) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(self.path) as archive:
            for name in self.names:
                shown = f"{self.path}: {name}"
                try:
                    yield shown, archive.read(name)
                except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
                    raise ValueError(f"{shown}: cannot be read ({error})") from error

    def _sidecar(self) -> bytes | None:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read("dataset.json") if "dataset.json" in self.all else None


def is_image(name: str) -> bool:
    """Whether a name is that of an image; hidden files and what macOS adds to zips are not."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not hidden


def decode(data: bytes, name: str, pixels: Pixels, *, lossless: bool) -> Image.Image:
    """One image, of the mode and format that a protocol takes.

    Raises:
        ValueError: not an image, truncated, lossy, of several frames, or of another mode; names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data))
            kind, frames = image.format, getattr(image, "n_frames", 1)
            image.load()
    except (*BROKEN, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name}: not a whole image file ({error}); make it again") from error
    if lossless and kind not in LOSSLESS:
        raise ValueError(f"{name}: found {kind}; the protocol takes lossless images: PNG, npz or safetensors")
    wanted = MODES[pixels.channels]
    if kind == "JPEG" and image.mode == "L":  # COCO has grey photographs among others: read as clean-fid does
        image = image.convert(wanted)
    found = str(image.mode)
    found += " with transparency" if "transparency" in image.info else ""
    if frames != 1 or found != wanted:
        several = f"{frames} frames of " if frames != 1 else ""
        raise ValueError(f"{name}: found mode {several}{found}, expected {wanted}; convert the images first")
    return image
