"""A labelled image set in memory and its endless, resumable order of batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.streams import numpy_generator


def to_model(images: np.ndarray) -> Tensor:
    """uint8 pixels ``[N, C, H, W]`` to fp32 in [-1, 1] (x / 127.5 - 1, EDM)."""
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)


def to_uint8(x: Tensor) -> np.ndarray:
    """Model space to uint8: round half up of ``127.5 x + 127.5`` clipped to 0..255."""
    return (x.double() * 127.5 + 128).clamp(0, 255).to(torch.uint8).cpu().numpy()


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 ``[N, C, H, W]``, labels int64 ``[N]`` in 0..n_classes-1."""

    images: np.ndarray
    labels: np.ndarray
    n_classes: int

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
        """Batch ``iteration`` of endlessly reshuffled epochs: ``x0 [size, C, H, W]`` and its labels."""
        rows = epoch_rows(seed, iteration * size, size, len(self))
        return to_model(self.images[rows]), Cond(label=torch.from_numpy(self.labels[rows]))

    def everything(self) -> tuple[Tensor, Cond]:
        """The whole set as one batch."""
        return to_model(self.images), Cond(label=torch.from_numpy(self.labels))


def epoch_rows(seed: int, start: int, count: int, length: int) -> np.ndarray:
    """Rows ``start .. start + count`` of a chain of independently shuffled epochs of ``length`` rows."""
    rows: list[np.ndarray] = []
    while count > 0:
        epoch, offset = divmod(start, length)
        order = numpy_generator(seed, "data", epoch).permutation(length)
        part = order[offset : offset + count]
        rows.append(part)
        start, count = start + len(part), count - len(part)
    return np.concatenate(rows)
