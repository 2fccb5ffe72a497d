"""Drawing the samples of a block: keyed by index, so the batch size does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.seeds import SeededNoise
from baselines.distiller import Generator, Noise
from baselines.streams import SampleNoise


class Inputs(Protocol):
    """What a generator starts from: the noise and the conditions of samples of a block, by index."""

    def __call__(self, seed: int, indices: range, device: torch.device) -> tuple[Noise, Cond]: ...


class KeyedInputs:
    """Noise keyed by (block seed, sample index, sampler step).

    Args:
        shape: of one sample; labels: conditions by (block seed, indices).
    """

    def __init__(self, shape: tuple[int, ...], labels: Callable[[int, range], Cond]) -> None:
        self.shape, self.labels = shape, labels

    def __call__(self, seed: int, indices: range, device: torch.device) -> tuple[Noise, Cond]:
        return SampleNoise(seed, indices, self.shape, device), self.labels(seed, indices).to(device)


class NumberedInputs:
    """One generator for each sample, seeded with its number; a class is drawn from it after the latent (EDM).

    Args:
        shape: of one sample; classes: 0 for unconditional data.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        self.shape, self.classes = shape, classes

    def __call__(self, seed: int, indices: range, device: torch.device) -> tuple[Noise, Cond]:
        noise = SeededNoise([seed + i for i in indices], self.shape, device, self.classes)
        return noise, Cond(label=noise.labels) if self.classes else Cond()


class Team(Protocol):
    """Processes that share out batches (``bench.distributed.group``)."""

    def collected(self, makers: Sequence[Callable[[], Tensor]]) -> list[Tensor]: ...


class Alone:
    """This process makes all of them."""

    def collected(self, makers: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
        return [make() for make in makers]


def draw_samples(
    generator: Generator,
    inputs: Inputs,
    *,
    seed: int,
    count: int,
    steps: int,
    batch: int,
    device: torch.device,
    team: Team | None = None,
) -> Tensor:
    """Samples ``0 .. count`` of the block ``seed`` in model space, ``[count, *shape]`` on the CPU.

    Whole batches go to the members of a team, so that a sample's bytes do not depend on how many there are.
    """

    def made(start: int) -> Tensor:
        noise, cond = inputs(seed, range(start, min(start + batch, count)), device)
        return generator.sample(noise, cond, steps).cpu()

    with torch.no_grad():
        return torch.cat((team or Alone()).collected([partial(made, s) for s in range(0, count, batch)]))


def device_class(device: torch.device) -> str:
    """What "same seed, same bytes" holds for: device model, threads on a CPU."""
    if device.type == "cpu":
        return f"cpu-{torch.get_num_threads()}"
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type
