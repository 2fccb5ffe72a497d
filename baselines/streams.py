"""Named, counter-based random streams: (seed, stream, index) names a generator, whatever was drawn before.

Sample ``i`` is therefore the same for every batch size, device count and resume point, and a resumed training
needs no generator state on disk. Nothing in the house draws from a global generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

STREAMS = (
    "init",
    "data",
    "held-out",
    "compositional",
    "train-noise",
    "labels",
    "caption-dropout",
    "falsehoods",
    "sample-noise",
    "metric-subset",
    "rollout",
    "dropout",
)


def stream_key(seed: int, stream: str, index: int = 0) -> int:
    """64-bit key of a position in a named stream.

    Raises:
        ValueError: the stream is not one of ``STREAMS``.
    """
    if stream not in STREAMS:
        raise ValueError(f"unknown random stream {stream!r}; expected one of {', '.join(STREAMS)}")
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def torch_generator(
    seed: int, stream: str, index: int = 0, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Torch generator at a position of a stream; values are fixed per device class."""
    return torch.Generator(device).manual_seed(stream_key(seed, stream, index) >> 1)


def numpy_generator(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """NumPy generator at a position of a stream."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, stream, index)))


@contextmanager
def seeded(seed: int, stream: str, index: int = 0) -> Iterator[None]:
    """What draws from torch's global generator inside (dropout, libraries) draws from a stream instead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_key(seed, stream, index))
        yield


@dataclass(frozen=True)
class SampleNoise:
    """Gaussian noise keyed by sample index, for generators.

    Attributes:
        seed: seed of the sampling block.
        indices: sample indices of this batch, B of them.
        shape: shape of one sample, without the batch axis.
        device, dtype: where the tensors go; values are drawn on the CPU in fp64 and agree on every device.
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]
    device: str | torch.device = "cpu"
    dtype: torch.dtype = torch.float32

    def initial(self) -> Tensor:
        """Unit-variance latent ``[B, *shape]``."""
        return self.at(0)

    def at(self, step: int) -> Tensor:
        """Unit-variance noise ``[B, *shape]`` for sampler step ``step`` (0 is the latent)."""
        key = stream_key(self.seed, "sample-noise")
        draws = np.empty((len(self.indices), *self.shape))
        for row, index in enumerate(self.indices):
            # each word of the counter names one thing: draws within a sample, step, sample
            bits = np.random.Philox(key=key, counter=np.array([0, step, index, 0], dtype=np.uint64))
            draws[row] = np.random.Generator(bits).standard_normal(self.shape)
        return torch.from_numpy(draws).to(device=self.device, dtype=self.dtype)
