"""Features of 8x8 digits: the extractor of the digits suite, whose weights ship with the package.

One vector of 32 features learns four things at once: the class, how blurred and how noisy the picture is, and
the picture itself. ``digits_training`` says why each.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.arrays import uint8_images
from metrics.features.whitened import WhitenedNetwork

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
CLASSES = 10
DIMENSION = 32


class DigitsNetwork(WhitenedNetwork):
    """Convolutions on ``[N, 1, 8, 8]`` in [0, 1] to features ``[N, 32]``, with a head for each task.

    Parameters are left unset: ``initialise`` draws them from a generator, ``load_state_dict`` reads them.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        with torch.device("meta"):
            self.conv1 = nn.Conv2d(1, width, 3, padding=1)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1)
            self.conv3 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
            self.conv4 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
            self.project = nn.Linear(2 * width * 16, DIMENSION)
            self.classify = nn.Linear(DIMENSION, CLASSES)
            self.corruption = nn.Linear(DIMENSION, 2)  # blur and noise amounts
            self.redraw = nn.Linear(DIMENSION, 64)
        self.to_empty(device="cpu")  # nothing is drawn from the global generator
        self.register_whitening(DIMENSION)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights (Kaiming normal, zero biases)."""
        for layer in self.children():
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Penultimate activations ``[N, 32]``, after a SiLU."""
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.silu(layer(x))
        return F.silu(self.project(x.flatten(1)))


class DigitsFeatures:
    """The extractor: uint8 images in, fp64 features and class logits out.

    Runs in fp64, so that results depend on batch size and thread count by rounding of the 16th digit only.

    Attributes:
        digest: sha256 of the weights file; part of a protocol's identity.
        dimension: number of features, 32.
    """

    def __init__(self, network: DigitsNetwork, digest: str) -> None:
        self.network = network.double().eval().requires_grad_(False)
        self.digest = digest
        self.dimension = DIMENSION

    def features(self, images: ArrayLike, batch_size: int = 500) -> np.ndarray:
        """Features ``[N, 32]`` in fp64 of uint8 ``[N, 1, 8, 8]``; total variance 32 on the training set.

        Raises:
            ValueError: not uint8 images of that shape.
        """
        return self._whitened(self._activations(images, batch_size))

    def class_logits(self, images: ArrayLike, batch_size: int = 500) -> np.ndarray:
        """Class logits ``[N, 10]`` in fp64 of uint8 ``[N, 1, 8, 8]``.

        Raises:
            ValueError: not uint8 images of that shape.
        """
        return self.network.classify(self._activations(images, batch_size)).numpy()

    def features_and_logits(self, images: ArrayLike, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """Both from one pass of the network; see ``features`` and ``class_logits``."""
        activations = self._activations(images, batch_size)
        return self._whitened(activations), self.network.classify(activations).numpy()

    def _whitened(self, activations: Tensor) -> np.ndarray:
        return self.network.whitened(activations).numpy()

    def _activations(self, images: ArrayLike, batch_size: int) -> Tensor:
        pixels = uint8_images(images, "digits")
        if pixels.shape[1:] != (1, 8, 8):
            raise ValueError(f"digits: expected images of shape [1, 8, 8], found {list(pixels.shape[1:])}")
        batches = torch.from_numpy(pixels).split(batch_size)
        return torch.cat([self.network(batch.double() / 255) for batch in batches])


def load_digits_features(weights: Path = WEIGHTS) -> DigitsFeatures:
    """The extractor from a safetensors file whose sha256 stands in the JSON file beside it.

    Raises:
        ValueError: the digest of the file is not the one in the JSON, or its tensors do not fit the network.
    """
    data = weights.read_bytes()
    expected = json.loads(weights.with_suffix(".json").read_text())["sha256"]
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(
            f"{weights}: expected sha256 {expected}, found {found}; the file is damaged or was replaced: "
            "restore it from the distribution"
        )
    network = DigitsNetwork()
    try:
        network.load_state_dict(load(data))
    except RuntimeError as error:
        raise ValueError(f"{weights}: tensors do not fit the digits network: {error}") from error
    return DigitsFeatures(network, found)
