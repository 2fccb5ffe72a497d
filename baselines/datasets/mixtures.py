"""Two-dimensional Gaussian mixtures with known law: a ring of eight modes and a 5 x 5 grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.streams import numpy_generator


@dataclass(frozen=True, eq=False)
class Mixture:
    """``sum_k weights_k N(means_k, std^2 I)``; means ``[K, d]``, weights ``[K]`` summing to 1."""

    means: np.ndarray
    weights: np.ndarray
    std: float

    @property
    def dimension(self) -> int:
        """Number of coordinates d."""
        return int(self.means.shape[1])

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Exact samples ``[count, d]`` in fp64."""
        mode = rng.choice(len(self.weights), size=count, p=self.weights)
        return np.asarray(self.means[mode] + self.std * rng.standard_normal((count, self.dimension)))

    def batch(self, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
        """Training batch of an iteration: ``x0 [size, d]`` in fp32 and an empty condition."""
        x0 = self.draw(size, numpy_generator(seed, "data", iteration))
        return torch.from_numpy(x0.astype(np.float32)), Cond()


def ring(modes: int = 8, radius: float = 0.7, std: float = 0.04) -> Mixture:
    """Equal modes on a circle around the origin."""
    angle = 2 * np.pi * np.arange(modes) / modes
    means = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Mixture(means, np.full(modes, 1 / modes), std)


def grid(side: int = 5, extent: float = 0.8, std: float = 0.04) -> Mixture:
    """Equal modes on a ``side`` x ``side`` grid over [-extent, extent]^2."""
    ticks = np.linspace(-extent, extent, side)
    means = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    return Mixture(means, np.full(side**2, 1 / side**2), std)


MIXTURES = {"gmm2d": ring, "gmm2d-grid": grid}
