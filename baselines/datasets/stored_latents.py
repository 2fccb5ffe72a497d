"""Latents as EDM2 stores them: mean and deviation of an autoencoder's posterior, drawn anew each time."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.files import Files, open_files
from baselines.datasets.labels import labels_of
from baselines.datasets.order import rows_at
from baselines.diffusion.cond import Cond
from baselines.streams import stream_key

POSTERIOR = -1  # index in the data stream that no epoch has


@dataclass(frozen=True)
class LatentScale:
    """From raw latents to those that a network sees: mean 0, deviation ``std`` in every channel.

    The defaults are EDM2's of the autoencoder ``sd-vae-ft-mse``.
    """

    raw_mean: tuple[float, ...] = (5.81, 3.25, 0.12, -2.15)
    raw_std: tuple[float, ...] = (4.17, 4.62, 3.71, 3.28)
    std: float = 0.5

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """fp32 ``[N, C, H, W]`` of the same shape."""
        scale = np.float32(self.std) / np.array(self.raw_std, np.float32)
        bias = -np.array(self.raw_mean, np.float32) * scale
        return raw * scale[:, None, None] + bias[:, None, None]


@dataclass(frozen=True, eq=False)
class StoredLatents:
    """A data set on disk: files ``.npy`` with fp32 ``[2C, H, W]``, mean above deviation.

    Attributes:
        names, labels: as of ``StoredImages``; shape: ``(C, H, W)`` of a drawn latent.
    """

    files: Files
    names: tuple[str, ...]
    labels: np.ndarray | None
    shape: tuple[int, int, int]
    n_classes: int
    scale: LatentScale

    @staticmethod
    def open(
        path: Path, resolution: int, *, n_classes: int = 0, scale: LatentScale = LatentScale()
    ) -> StoredLatents:
        """Open a zip or folder; ``resolution`` is that of the latents (64 for images of 512).

        Raises:
            ValueError: no latents, a first one of another form, labels that do not fit, an untrusted zip.
        """
        files = open_files(path)
        names = tuple(name for name in files.names if PurePosixPath(name).suffix.lower() == ".npy")
        if not names:
            raise ValueError(f"{path}: no latents (.npy)")
        labels = labels_of(files, names, n_classes) if n_classes else None
        shape = (len(scale.raw_mean), resolution, resolution)
        opened = StoredLatents(files, names, labels, shape, n_classes, scale)
        opened.posterior(0)
        return opened

    def __len__(self) -> int:
        return len(self.names)

    def posterior(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of one latent, fp32 ``[C, H, W]`` each.

        Raises:
            ValueError: damaged, of another shape, or not finite; names the file.
        """
        name, channels = f"{self.files.path}: {self.names[row]}", self.shape[0]
        raw = decode(self.files.read(self.names[row]), name, (2 * channels, *self.shape[1:]))
        if not np.isfinite(raw).all() or (raw[channels:] < 0).any():
            raise ValueError(f"{name}: holds NaN, infinity or a negative deviation; encode the images again")
        return raw[:channels], raw[channels:]

    def batch(self, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
        """Batch ``iteration`` of endlessly reshuffled epochs: ``x0 [size, C, H, W]`` and labels.

        A draw depends on the seed and on its number in the chain of epochs, not on the size of batches.
        """
        start = iteration * size
        rows = rows_at(seed, start, size, len(self))
        raw = np.empty((size, *self.shape), np.float32)
        for k, row in enumerate(rows):
            mean, std = self.posterior(int(row))
            raw[k] = mean + std * posterior_noise(seed, start + k, self.shape)
        label = None if self.labels is None else torch.from_numpy(self.labels[rows])
        return torch.from_numpy(self.scale(raw)), Cond(label=label)

    def sha256(self) -> str:
        """Digest of shape, means, deviations and labels in order; reads and checks every latent."""
        digest = hashlib.sha256(repr((len(self.names), self.shape)).encode())
        for row in range(len(self.names)):
            for part in self.posterior(row):
                digest.update(part.astype("<f4").tobytes())
        digest.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def posterior_noise(seed: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Unit normal fp32 of draw ``number``."""
    counter = np.array([0, 0, number, 0], dtype=np.uint64)
    bits = np.random.Philox(key=stream_key(seed, "data", POSTERIOR), counter=counter)
    return np.random.Generator(bits).standard_normal(shape).astype(np.float32)


def decode(data: bytes, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One ``.npy`` file as fp32; its header is compared before its numbers are read."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        found, fortran, dtype = header(stream)
    except ValueError as error:
        raise ValueError(f"{name}: not a NumPy array ({error})") from error
    if found != shape or fortran or dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{name}: found {dtype} {list(found)}, expected float32 {list(shape)}")
    rest = data[stream.tell() :]
    if len(rest) != dtype.itemsize * int(np.prod(shape)):
        raise ValueError(f"{name}: {len(rest):,} bytes of numbers do not fill {list(shape)}; get it again")
    return np.frombuffer(rest, dtype).reshape(shape).astype(np.float32)
