"""A training step through each network, in both memory layouts; the ratio of the layouts is printed.

Times are those of the process; nothing asserts on seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.networks.edm2_unet import EDM2UNet
from baselines.networks.song_unet import SongUNet
from baselines.networks.song_variant import NCSNPP
from baselines.streams import torch_generator

SIDE, BATCH = 32, 2
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ddpmpp": lambda: SongUNet(SIDE, 3, 4, model_channels=64, channel_mult=(1, 2), num_blocks=1),
    "ncsnpp": lambda: SongUNet(
        SIDE, 3, 4, model_channels=64, channel_mult=(1, 2), num_blocks=1, variant=NCSNPP
    ),
    "adm": lambda: DhariwalUNet(SIDE, 3, 4, model_channels=64, channel_mult=(1, 2), num_blocks=1),
    "edm2": lambda: EDM2UNet(SIDE, 3, 4, widths=(64, 128), num_blocks=1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_and_backward(benchmark, show, name: str) -> None:
    net, generator = NETWORKS[name](), torch_generator(0, "init")
    net.initialise(generator)
    x = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    label, noise_label = torch.arange(BATCH), torch.zeros(BATCH)
    least = {}

    def step() -> None:
        net(x, noise_label, label).square().mean().backward()

    for layout in (torch.contiguous_format, torch.channels_last):
        net, x = net.to(memory_format=layout), x.to(memory_format=layout)
        step()
        start = time.process_time()
        step()
        least[layout] = time.process_time() - start
    benchmark.pedantic(step, rounds=3)
    ratio = least[torch.contiguous_format] / least[torch.channels_last]
    show(f"{name}: channels last {ratio:.2f} times as fast as rows")
