"""Training of the digits features.

Four tasks share the features, each for a reason. The class: so that dropped or confused classes move the
features. The amounts of blur and noise, pictures being corrupted at random: so that bad pictures move them
too, further the worse they are. The picture itself: so that styles within a class stay apart and a lack of
variety shows. Every picture also receives uniform noise of one of the data's 17 grey levels, so that the
features do not tell a generator's 256 grey levels from the data's 17.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from metrics.arrays import class_labels, uint8_images
from metrics.features.digits import CLASSES, WEIGHTS, DigitsFeatures, DigitsNetwork

GREY_LEVEL = 1 / 16  # step between the grey levels of the data, pixels in [0, 1]


@dataclass(frozen=True)
class DigitsTraining:
    """Settings of the training.

    Attributes:
        iterations, batch: amount of training.
        lr: peak of the learning rate (AdamW), which falls to zero along a half cosine.
        weight_decay: of AdamW.
        moved: chance that a picture is shifted by one pixel, for each axis.
        corrupted: chance that a picture is blurred and made noisy.
        blur: largest standard deviation of the blur, in pixels.
        noise: largest standard deviation of the noise, pixels in [0, 1].
        grade, redraw: weights of the tasks "blur and noise" and "the picture"; the class has weight 1.
        ridge: of the whitening; 0 whitens fully, infinity only scales.
    """

    iterations: int = 3000
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-2
    moved: float = 0.3
    corrupted: float = 0.5
    blur: float = 1.2
    noise: float = 0.3
    grade: float = 1.0
    redraw: float = 10.0
    ridge: float = 0.1


def train_digits_features(
    images: ArrayLike, labels: ArrayLike, seed: int, settings: DigitsTraining | None = None
) -> DigitsNetwork:
    """Train from uint8 images ``[N, 1, 8, 8]`` and labels ``[N]`` in 0..9.

    Deterministic: every draw comes from one generator of ``seed``; run it on one thread to get the same bits.

    Raises:
        ValueError: images or labels are not of that form.
    """
    settings = settings or DigitsTraining()
    pixels = uint8_images(images, "training images")
    targets = torch.from_numpy(class_labels(labels, len(pixels), CLASSES, "training labels"))
    x0 = torch.from_numpy(pixels).float() / 255
    generator = torch.Generator().manual_seed(seed)
    network = DigitsNetwork()
    network.initialise(generator)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    for iteration in range(settings.iterations):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * iteration / settings.iterations))
        rows = torch.randint(len(x0), (settings.batch,), generator=generator)
        optimizer.zero_grad()
        _loss(network, x0[rows], targets[rows], settings, generator).backward()
        optimizer.step()
    network.whiten_by(x0, settings.ridge)
    return network


def _loss(
    network: DigitsNetwork, x0: Tensor, labels: Tensor, settings: DigitsTraining, generator: torch.Generator
) -> Tensor:
    x0 = shifted(x0, settings.moved, generator)
    x, amounts = _corrupted(x0, settings, generator)
    activations = network(x)
    return (
        F.cross_entropy(network.classify(activations), labels)
        + settings.grade * F.mse_loss(network.corruption(activations), amounts)
        + settings.redraw * F.mse_loss(network.redraw(activations), x.flatten(1))
    )


def shifted(x: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Each picture moved by -1, 0 or 1 pixel along each axis; black enters."""
    sides = torch.rand(len(x), 2, generator=generator)
    steps = (sides < chance / 2).long() - (sides > 1 - chance / 2).long()
    padded = F.pad(x, (1, 1, 1, 1))
    window = torch.arange(8)
    rows = (1 + steps[:, 0, None] + window)[:, None, :, None]
    columns = (1 + steps[:, 1, None] + window)[:, None, None, :]
    return padded[torch.arange(len(x))[:, None, None, None], 0, rows, columns]


def _corrupted(x: Tensor, settings: DigitsTraining, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some pictures blurred and made noisy, and the amounts ``[N, 2]`` as shares of the largest."""
    chosen = torch.rand(len(x), 1, generator=generator) < settings.corrupted
    amounts = torch.where(chosen, torch.rand(len(x), 2, generator=generator), 0)
    blur = blur_matrix(settings.blur * amounts[:, 0])[:, None]
    x = blur @ x @ blur.mT
    x = x + settings.noise * amounts[:, 1, None, None, None] * torch.randn(x.shape, generator=generator)
    x = x + GREY_LEVEL * (torch.rand(x.shape, generator=generator) - 0.5)
    return x.clamp(0, 1), amounts


def blur_matrix(std: Tensor, size: int = 8) -> Tensor:
    """Gaussian blur along one axis, of standard deviations ``[N]`` in pixels, as ``[N, size, size]``."""
    offsets = torch.arange(size)[:, None] - torch.arange(size)
    weights = torch.exp(-(offsets**2) / (2 * std.clamp(min=1e-3)[:, None, None] ** 2))
    return weights / weights.sum(dim=-1, keepdim=True)


def teach_digits_features(
    *,
    train: tuple[ArrayLike, ArrayLike],
    held_out: tuple[ArrayLike, ArrayLike],
    seed: int = 0,
    weights: Path = WEIGHTS,
    settings: DigitsTraining | None = None,
) -> DigitsFeatures:
    """Train, and write the weights with a JSON file beside them: digest, accuracy and how they were made.

    ``train`` and ``held_out`` are images uint8 ``[N, 1, 8, 8]`` with labels ``[N]``; the latter only scored.

    Raises:
        ValueError: images or labels are not of that form.
    """
    settings = settings or DigitsTraining()
    network = train_digits_features(*train, seed, settings)
    data = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    extractor = DigitsFeatures(network, hashlib.sha256(data).hexdigest())
    about = {
        "sha256": extractor.digest,
        "seed": seed,
        "settings": asdict(settings),
        "held_out_accuracy": accuracy(extractor, *held_out),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(data)
    weights.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    return extractor


def accuracy(extractor: DigitsFeatures, images: ArrayLike, labels: ArrayLike) -> float:
    """Share of images whose class the network names as labelled."""
    return float((extractor.class_logits(images).argmax(axis=1) == np.asarray(labels)).mean())
