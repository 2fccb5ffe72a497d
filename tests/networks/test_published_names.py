"""Full-size networks, built without memory: parameter names, shapes and order are the published ones."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_law import TABLE
from torch import nn

from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.networks.edm2_unet import EDM2UNet, edm2_widths
from baselines.networks.song_unet import SongUNet
from baselines.networks.song_variant import NCSNPP, published_variant

DATA = Path(__file__).parents[1] / "data"
PUBLISHED: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress((DATA / "state_dict_shapes.json.gz").read_bytes())
)
CIFAR = {"resolution": 32, "channels": 3, "augment_dim": 9, "channel_mult": (2, 2, 2)}
FACES = {"resolution": 64, "channels": 3, "augment_dim": 9}
BUILT: dict[str, Callable[[], nn.Module]] = {
    "cifar10-uncond-vp": lambda: SongUNet(**CIFAR),  # type: ignore[arg-type]
    "cifar10-cond-vp": lambda: SongUNet(label_dim=10, **CIFAR),  # type: ignore[arg-type]
    "cifar10-uncond-ve": lambda: SongUNet(variant=NCSNPP, **CIFAR),  # type: ignore[arg-type]
    "ffhq64-uncond-vp": lambda: SongUNet(**FACES),
    "ffhq64-uncond-ve": lambda: SongUNet(variant=NCSNPP, **FACES),
    "imagenet64-cond-adm": lambda: DhariwalUNet(64, 3, label_dim=1000),
}


def shapes(module: nn.Module) -> list[tuple[str, list[int]]]:
    return [(name, list(value.shape)) for name, value in module.state_dict().items()]


def test_every_published_list_is_compared() -> None:
    assert {*BUILT, "openai-cm-imagenet64"} == set(PUBLISHED) and len(PUBLISHED) == 7


@pytest.mark.parametrize("release", BUILT)
def test_names_shapes_and_order(release: str) -> None:
    with torch.device("meta"):
        net = Denoiser(BUILT[release](), EDMScaling())
    assert shapes(net) == list(PUBLISHED[release].items())


@pytest.mark.parametrize("release", TABLE["edm2_sizes"])
def test_sizes_of_edm2(release: str) -> None:
    row = TABLE["edm2_sizes"][release]
    with torch.device("meta"):
        net = EDM2Denoiser(EDM2UNet(64, 4, row["label_dim"], edm2_widths(row["size"])), EDMScaling())
    lines = "\n".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes(net))
    assert len(net.state_dict()) == row["tensors"]
    assert sum(p.numel() for p in net.parameters()) == row["parameters"]
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == row["digest"]


def test_unknown_names_of_variants_and_sizes() -> None:
    with pytest.raises(ValueError, match="'residul'; expected one of standard, skip, residual"):
        published_variant(encoder_type="residul")
    with pytest.raises(ValueError, match="size is 'xxs'; expected one of xs, s, m, l, xl, xxl"):
        edm2_widths("xxs")
