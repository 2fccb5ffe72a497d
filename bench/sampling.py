"""Drawing the samples of a block: keyed by index, so the batch size does not matter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.distiller import Generator, Space
from baselines.streams import SampleNoise


def draw_samples(
    generator: Generator,
    space: Space,
    labels: Callable[[range], Cond],
    *,
    seed: int,
    count: int,
    steps: int,
    batch: int,
    device: torch.device,
) -> Tensor:
    """Samples ``0 .. count`` of the block ``seed`` in model space, ``[count, *shape]`` on the CPU."""
    parts = []
    with torch.no_grad():
        for start in range(0, count, batch):
            indices = range(start, min(start + batch, count))
            noise = SampleNoise(seed, indices, space.shape, device)
            parts.append(generator.sample(noise, labels(indices).to(device), steps).cpu())
    return torch.cat(parts)


def device_class(device: torch.device) -> str:
    """What "same seed, same bytes" holds for: the device model and, on a CPU, the thread count."""
    if device.type == "cpu":
        return f"cpu-{torch.get_num_threads()}"
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type
