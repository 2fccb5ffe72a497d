"""A set of images as a stream of prepared uint8 batches, with its count, labels and digest."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metrics.protocols.record import Pixels
from metrics.samples.arrays import StoredArray, open_array, stored_labels
from metrics.samples.pictures import MODES, FolderFiles, ImageFiles, ZipFiles, decode
from metrics.samples.preparation import as_planes, changes, prepared_planes, to_uint8

BATCH = 64


class ImageSource(ABC):
    """Images under a protocol.

    Attributes:
        path, count: where they are, and how many.
        pixels: what the protocol takes.
        sha256: of shape and grey levels in order, before crop and resize; "" until a stream was read whole.
            The same images have the same digest in every container.
    """

    def __init__(self, path: Path, count: int, pixels: Pixels) -> None:
        self.path, self.count, self.pixels = path, count, pixels
        self.sha256 = ""
        if count == 0:
            raise ValueError(f"{path}: no images; expected PNG files, or an array of them")

    @abstractmethod
    def labels(self) -> np.ndarray | None:
        """Class labels int64 ``[N]``, None if none are stored; raises ValueError for broken ones."""

    @abstractmethod
    def _raw(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and uint8 ``[C, H, W]`` of every image, as given."""

    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        """Prepared uint8 batches ``[B, C, H, W]``; images of other sizes than the one before open a batch.

        Raises:
            ValueError: an image that the protocol does not take, or that cannot be read; names the file.
        """
        digest, batch = hashlib.sha256(), list[np.ndarray]()
        for _, image in self._raw():
            digest.update(repr(image.shape).encode() + image.tobytes())
            ready = prepared_planes(image, self.pixels)
            if batch and (len(batch) == size or batch[0].shape != ready.shape):
                yield np.stack(batch)
                batch = []
            batch.append(ready)
        yield np.stack(batch)
        self.sha256 = digest.hexdigest()

    def _check_size(self, name: str, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
        if shape != first:
            raise ValueError(f"{name}: {side(shape)} pixels, others are {side(first)}; expected one size")
        wanted = self.pixels.size
        if wanted is not None and shape[1:] != (wanted, wanted):
            raise ValueError(f"{name}: {side(shape)} pixels; the protocol takes {wanted} x {wanted}")


class FileImages(ImageSource):
    """Images in a folder or zip.

    Args:
        reference: real images, which may differ in size where the protocol resizes, and may be JPEG then.
    """

    def __init__(self, files: ImageFiles, pixels: Pixels, *, reference: bool = False) -> None:
        super().__init__(files.path, len(files.names), pixels)
        self.files, self.loose = files, reference and changes(pixels)

    def labels(self) -> np.ndarray | None:
        return self.files.labels()

    def _raw(self) -> Iterator[tuple[str, np.ndarray]]:
        first: tuple[int, ...] | None = None
        lossless = self.pixels.lossless and not self.loose
        for name, data in self.files.read():
            image = as_planes(decode(data, name, self.pixels, lossless=lossless))
            first = first or image.shape
            if not self.loose:
                self._check_size(name, image.shape, first)
            yield name, image


class ArrayImages(ImageSource):
    """Images in an npz or safetensors file: uint8, or floats in [-1, 1] that the protocol's rule rounds."""

    def __init__(self, path: Path, stored: StoredArray, pixels: Pixels) -> None:
        super().__init__(path, stored.shape[0] if stored.shape else 0, pixels)
        self.stored, self.float = stored, np.issubdtype(stored.dtype, np.floating)
        self.channels_last = self._channels_last(stored.shape)
        if not self.float and stored.dtype != np.uint8:
            raise ValueError(f"{path}: found {stored.dtype} images; expected uint8, or floats in [-1, 1]")
        height, width = stored.shape[1:3] if self.channels_last else stored.shape[2:4]
        self._check_size(str(path), shape := (pixels.channels, height, width), shape)

    def _channels_last(self, shape: tuple[int, ...]) -> bool:
        wanted = self.pixels.channels
        if len(shape) == 4 and wanted in (shape[1], shape[3]):
            return shape[3] == wanted
        raise ValueError(
            f"{self.path}: found shape {list(shape)}; expected {MODES[wanted]} images [N, H, W, {wanted}]"
        )

    def labels(self) -> np.ndarray | None:
        return stored_labels(self.path)

    def _raw(self) -> Iterator[tuple[str, np.ndarray]]:
        least, done = np.inf, 0
        for part in self.stored.slices(BATCH):
            least = min(least, float(part.min()))
            images = self._rounded(part, done) if self.float else part
            for image in images.transpose(0, 3, 1, 2) if self.channels_last else images:
                yield str(self.path), np.ascontiguousarray(image)
            done += len(part)
        if self.float and least >= 0:
            raise ValueError(
                f"{self.path}: no float is below 0 (the least is {least:.4g}), so these are not images in "
                "[-1, 1]; save them as uint8"
            )

    def _rounded(self, part: np.ndarray, done: int) -> np.ndarray:
        if not np.isfinite(part).all():
            raise ValueError(f"{self.path}: images {done} to {done + len(part) - 1} hold NaN or infinity")
        low, high = float(part.min()), float(part.max())
        if low < -1 or high > 1:
            raise ValueError(
                f"{self.path}: found floats from {low:.4g} to {high:.4g} in images {done} to "
                f"{done + len(part) - 1}; expected [-1, 1], or uint8"
            )
        return to_uint8(part, self.pixels.rounding)


class MemoryImages(ImageSource):
    """Images that were just made: uint8 ``[N, C, H, W]``."""

    def __init__(self, images: np.ndarray, pixels: Pixels) -> None:
        super().__init__(Path("samples"), len(images), pixels)
        self.images = images

    def labels(self) -> np.ndarray | None:
        return None

    def _raw(self) -> Iterator[tuple[str, np.ndarray]]:
        for image in self.images:
            yield "samples", image


def side(shape: tuple[int, ...]) -> str:
    """``W x H`` of ``[C, H, W]``."""
    return f"{shape[2]} x {shape[1]}"


def open_images(path: Path, pixels: Pixels, *, reference: bool = False) -> ImageSource:
    """Images of a folder, ``.zip``, ``.npz`` or ``.safetensors``.

    Raises:
        ValueError: nothing there, another kind of file, no images, or an array of another form.
    """
    if path.is_dir():
        return FileImages(FolderFiles(path), pixels, reference=reference)
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix == ".zip":
        return FileImages(ZipFiles(path), pixels, reference=reference)
    if path.suffix in (".npz", ".safetensors"):
        return ArrayImages(path, open_array(path), pixels)
    raise ValueError(f"{path}: expected a folder, .zip, .npz or .safetensors")


def open_points(path: Path) -> np.ndarray:
    """Points fp64 ``[N, d]`` of an npz or safetensors file.

    Raises:
        ValueError: another kind of file, not a matrix of finite floats, or empty.
    """
    if path.suffix not in (".npz", ".safetensors") or not path.is_file():
        raise ValueError(f"{path}: expected an .npz or .safetensors file that holds points [N, d]")
    stored = open_array(path)
    if len(stored.shape) != 2 or 0 in stored.shape or not np.issubdtype(stored.dtype, np.floating):
        raise ValueError(
            f"{path}: expected float points [N, d], found {stored.dtype} of shape {list(stored.shape)}"
        )
    points = np.concatenate([*stored.slices(1 << 16)]).astype(np.float64)
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        raise ValueError(f"{path}: {bad} of {len(points)} points hold NaN or infinity")
    return points
