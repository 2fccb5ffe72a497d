"""What scores the samples of a suite; the protocol says how."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor

from baselines.diffusion.cond import Cond
from bench.sampling import Inputs, KeyedInputs


class Evaluator(ABC):
    """Scores samples of one suite; owns the reference."""

    @property
    @abstractmethod
    def extractor_sha256(self) -> str | None:
        """Digest of the feature network; None where none is used."""

    @property
    @abstractmethod
    def reference_sha256(self) -> str | None:
        """Digest of the reference data; None where it is drawn afresh."""

    @abstractmethod
    def labels(self, indices: range, seed: int = 0) -> Cond:
        """Conditions of samples of a block by index (the protocol's label law)."""

    @abstractmethod
    def pixels(self, x: Tensor) -> np.ndarray:
        """What is stored and scored, from model space."""

    @abstractmethod
    def score(self, samples: np.ndarray, seed: int) -> dict[str, float]:
        """All metrics of samples ``0 .. N`` of a block; ``seed`` names the block."""

    @abstractmethod
    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        """Samples of a reference generator that is no model: "real" is the floor."""

    def inputs(self, shape: tuple[int, ...]) -> Inputs:
        """Noise and conditions that generators start from, for samples of a shape."""
        return KeyedInputs(shape, lambda seed, indices: self.labels(indices, seed))
