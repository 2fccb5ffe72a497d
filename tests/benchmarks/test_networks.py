"""A training step through each network, in both memory layouts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timing import Beside
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
def test_forward_and_backward(beside: Beside, name: str) -> None:
    """In the layout that a run has, channels last."""
    generator = torch_generator(0, "init")
    x = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    label, noise_label = torch.arange(BATCH), torch.zeros(BATCH)

    def step(layout: torch.memory_format) -> Callable[[], None]:
        net = NETWORKS[name]().to(memory_format=layout)
        images = x.to(memory_format=layout)
        return lambda: net(images, noise_label, label).square().mean().backward()

    rows, last = step(torch.contiguous_format), step(torch.channels_last)
    beside("Networks, forward and backward", name, last, {"the same in rows": rows}, rounds=3)
