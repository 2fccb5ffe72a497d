"""How inputs and weights of ``tests/data/published_outputs.json`` are drawn, and how results are summarised.

The table was made with the modules of NVlabs/edm (008a4e5), NVlabs/edm2 and openai/consistency_models: the
same configurations, weights filled by ``fill``, inputs by ``normal``, results through ``summary`` and
``projections``. Where those modules draw from torch's global generator, it was seeded with the seed that the
table states.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import BoundaryScaling, Denoiser, EDMScaling
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.diffusion.scalings import IDDPMScaling, OpenAILabels, VEScaling, VPScaling
from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.networks.edm2_unet import EDM2UNet
from baselines.networks.song_unet import SongUNet
from baselines.networks.song_variant import published_variant

SHOWN = 10  # values of each result
TABLE = json.loads((Path(__file__).parents[1] / "data" / "published_outputs.json").read_text())
NETWORKS: dict[str, dict[str, Any]] = {row["name"]: row for row in TABLE["networks"]}
SCALINGS: dict[str, Any] = {
    "edm": EDMScaling(),
    "vp": VPScaling(),
    "ve": VEScaling(),
    "iddpm": IDDPMScaling(),
    "openai-teacher": OpenAILabels(EDMScaling()),
    "openai-student": OpenAILabels(BoundaryScaling()),
}


def denoiser(name: str) -> Denoiser:
    """A network of the table with its weights, in eval mode."""
    row = NETWORKS[name]
    options, scaling = row["network"], SCALINGS[row["scaling"]]
    made: Denoiser
    if row["kind"] == "song":
        made = Denoiser(SongUNet(**options, variant=published_variant(**row["variant"])), scaling)
    elif row["kind"] == "dhariwal":
        made = Denoiser(DhariwalUNet(**options), scaling)
    else:
        made = EDM2Denoiser(EDM2UNet(**options), scaling)
    fill(made if row["kind"] == "edm2" else made.model, row["seed"])
    return made.eval()


def inputs(name: str) -> tuple[Tensor, Tensor, Cond]:
    """Noisy images, noise levels and condition of a network of the table."""
    row = NETWORKS[name]
    sigma, side = torch.tensor(row["sigma"]), row["network"]["resolution"]
    x = normal(row["seed"], len(sigma), row["network"]["channels"], side, side)
    label = None if row["labels"] is None else torch.tensor(row["labels"])
    augment = normal(row["seed"] + 200, len(sigma), 9) if row["augment"] else None
    return x * (sigma**2 + 0.25).sqrt()[:, None, None, None], sigma, Cond(label=label, augment=augment)


def close(ours: list[float], theirs: list[float], tolerance: float, scale: float | None = None) -> None:
    """Largest difference at most ``tolerance`` times ``scale`` (the largest of their values)."""
    ours_, theirs_ = np.array(ours), np.array(theirs)
    assert ours_.shape == theirs_.shape
    size = np.abs(theirs_).max() if scale is None else scale
    assert np.abs(ours_ - theirs_).max() <= tolerance * size


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal values in fp32 from NumPy's Philox."""
    draws = np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape)
    return torch.from_numpy(np.asarray(draws)).float()


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Every tensor of the state dict but the filters, in its order: matrices keep size, vectors are 1/2."""
    for index, (name, value) in enumerate(module.state_dict().items()):
        if "resample_filter" not in name:
            fan_in = value[0].numel() if value.ndim > 1 else 4
            value.copy_(normal(1000 * seed + index, *value.shape) / fan_in**0.5)
    return module


def summary(x: Tensor) -> list[float]:
    """Root mean square, then values spread over the tensor."""
    flat = x.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, min(SHOWN, len(flat))).long()
    return [round(value, 9) for value in [flat.square().mean().sqrt().item(), *flat[places].tolist()]]


def projections(gradients: Iterable[Tensor], seed: int) -> list[float]:
    """One number for each gradient: its product with a fixed normal tensor, over the root of its size."""
    numbers = []
    for index, gradient in enumerate(gradients):
        direction = normal(1000 * seed + 500 + index, *gradient.shape).double()
        number = (gradient.double() * direction).sum() / gradient.numel() ** 0.5
        numbers.append(round(number.item(), 9))
    return numbers
