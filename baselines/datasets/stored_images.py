"""Images in EDM's dataset zips, or in a folder: any row at any time, checked when it is read."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from baselines.datasets.files import Files, open_files
from baselines.datasets.images import to_model
from baselines.datasets.labels import labels_of
from baselines.datasets.order import rows_at
from baselines.diffusion.cond import Cond

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MODES = {1: "L", 3: "RGB"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Warning)


@dataclass(frozen=True, eq=False)
class StoredImages:
    """A data set on disk.

    Attributes:
        names: of the image files, sorted; labels: int64 ``[N]`` in 0..n_classes-1, None if unconditional.
        shape: ``(C, H, W)`` of every image, uint8.
        xflip: rows N..2N-1 are the images mirrored left to right (EDM's ``xflip``).
    """

    files: Files
    names: tuple[str, ...]
    labels: np.ndarray | None
    shape: tuple[int, int, int]
    n_classes: int
    xflip: bool

    @staticmethod
    def open(
        path: Path, resolution: int, *, channels: int = 3, n_classes: int = 0, xflip: bool = False
    ) -> StoredImages:
        """Open a zip or folder; labels are read only if there are classes.

        Raises:
            ValueError: no images, a first image of another form, labels that do not fit, an untrusted zip.
        """
        files = open_files(path)
        names = tuple(name for name in files.names if PurePosixPath(name).suffix.lower() in SUFFIXES)
        if not names:
            raise ValueError(f"{path}: no images ({', '.join(sorted(SUFFIXES))})")
        labels = labels_of(files, names, n_classes) if n_classes else None
        shape = (channels, resolution, resolution)
        opened = StoredImages(files, names, labels, shape, n_classes, xflip)
        opened.image(0)
        return opened

    def __len__(self) -> int:
        return len(self.names) * (2 if self.xflip else 1)

    def image(self, row: int) -> np.ndarray:
        """One image, uint8 ``[C, H, W]``.

        Raises:
            ValueError: damaged, or of another size or mode; names the file.
        """
        flipped, index = divmod(row, len(self.names))
        image = decode(
            self.files.read(self.names[index]), f"{self.files.path}: {self.names[index]}", self.shape
        )
        return np.ascontiguousarray(image[:, :, ::-1]) if flipped else image

    def batch(self, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
        """Batch ``iteration`` of endlessly reshuffled epochs: ``x0 [size, C, H, W]`` in [-1, 1], labels."""
        rows = rows_at(seed, iteration * size, size, len(self))
        return to_model(np.stack([self.image(int(row)) for row in rows])), self.cond(rows)

    def cond(self, rows: np.ndarray) -> Cond:
        """Labels of some rows; an empty condition where there are none."""
        if self.labels is None:
            return Cond()
        return Cond(label=torch.from_numpy(self.labels[rows % len(self.names)]))

    def sha256(self) -> str:
        """Digest of shape, grey levels and labels in order, without mirrored rows; checks every image."""
        digest = hashlib.sha256(repr((len(self.names), self.shape)).encode())
        for row in range(len(self.names)):
            digest.update(self.image(row).tobytes())
        digest.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def decode(data: bytes, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """One image as uint8 ``[C, H, W]``; its size is compared before its pixels are unpacked."""
    channels, height, width = shape
    try:  # filters of warnings are those of all threads: they stay as they are
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        found = f"{image.width} x {image.height} {image.mode}"
        fits = (image.width, image.height, image.mode) == (width, height, MODES[channels])
        if fits:
            image.load()
    except BROKEN as error:
        raise ValueError(f"{name}: not a whole image file ({error}); make it again") from error
    if not fits:
        raise ValueError(f"{name}: found {found}, expected {width} x {height} {MODES[channels]}")
    array = np.asarray(image)
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))
