"""What scores the samples of a suite; the protocol says how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.distiller import Generator, Noise
from bench.sampling import Inputs, KeyedInputs
from metrics.measure import Seen
from metrics.moments import Moments

REAL = 250  # images decoded at a time
Rendering = Callable[[Generator, Noise, int], Tensor]  # generator, noise, step count -> what a user gets


class Evaluator(ABC):
    """Scores samples of one suite; owns the reference.

    Attributes:
        space: what its samples are.
        around: calls around the sampler, per sample, by role; they are no evaluations.
    """

    space: ClassVar[Literal["points", "images"]] = "images"
    around: ClassVar[Mapping[str, float]] = {}

    @property
    @abstractmethod
    def extractor_sha256(self) -> str | None:
        """Digest of the feature network; None where none is used."""

    @property
    @abstractmethod
    def reference_sha256(self) -> str | None:
        """Digest of the reference data; None where it is drawn afresh."""

    @property
    def others_sha256(self) -> Mapping[str, str | None]:
        """Digests of what else decides scores, by name: the network of a CLIP score, say."""
        return {}

    def drawn_from(self, *, anchor: bool) -> Mapping[str, str | None]:
        """Digests of files that say what samples show, by name: captions, and an anchor's real pictures."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What records are to say of every row."""
        return ()

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

    def rendering(self, indices: range, device: torch.device) -> Rendering:
        """What latency is measured of: all that a user waits for; class labels are in hand."""
        cond = self.labels(indices).to(device)
        return lambda generator, noise, steps: generator.sample(noise, cond, steps)

    @property
    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """Modules that a rendering calls beside the generator's, by stage."""
        return {}

    # ------------------------------------------------------------------ for metrics that plugins bring

    def decoded(self, samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Stored samples as points ``[B, d]`` or images uint8 ``[B, C, H, W]``, in their order."""
        return (samples[start : start + size] for start in range(0, len(samples), size))

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Features ``[B, D]`` of decoded samples; only where there is a feature network."""
        raise NotImplementedError

    def reference_moments(self) -> Moments:
        """Mean and covariance of the reference features; only where there is a feature network."""
        raise NotImplementedError

    def real(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Real data, decoded, with its labels where they are known; as ``metrics.plugin.Real`` says."""
        return np.concatenate(list(self.decoded(self.anchor("real", count, seed), REAL))), None


class InParts(Evaluator):
    """An evaluator that looks at each batch of samples for itself, so that processes can share them out."""

    @abstractmethod
    def seen(self, samples: np.ndarray, start: int) -> list[Seen]:
        """What samples ``start ..`` of a block tell; ``start`` is the first of a batch."""

    @abstractmethod
    def scores(self, parts: Sequence[list[Seen]]) -> dict[str, float]:
        """All metrics of a block, from what its parts tell, in the order of the samples."""

    def score(self, samples: np.ndarray, seed: int) -> dict[str, float]:
        return self.scores([self.seen(samples, 0)])
