"""Features of pictures of the drawn world: what the Frechet distance of the suite ``shapes`` is taken of.

As for digits, one vector learns several things at once, so that each kind of fault moves it: which colours
and shapes are there together and on which ground, how blurred and how noisy the picture is, and the picture
itself.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.features.digits_training import blur_matrix
from metrics.features.extractor import Extra, Extractor, Features
from metrics.features.own_networks import own_network
from metrics.features.resize import Resize
from metrics.features.whitened import WhitenedNetwork

WEIGHTS = Path(__file__).parent / "weights" / "shapes.safetensors"
DIMENSION, WIDTH = 64, 12
SIDE, COARSE = 32, 16  # pixels of a picture, and of the one that is redrawn
BLUR, NOISE = 2.0, 0.3  # largest standard deviations, in pixels and of pixels in [0, 1]
CORRUPTED = 0.3  # chance that a picture is blurred and made noisy
RIDGE = 0.1  # of the whitening
SPOILT, REDRAWN = 5.0, 10.0  # weights of the tasks "how much blur and noise" and "the picture"


class ShapesNetwork(WhitenedNetwork):
    """A small ResNet on ``[N, 3, 32, 32]`` in [0, 1] to ``[N, 64]``, with a linear head for each task.

    Its constructor draws from the global generator.

    Args:
        facts: true-or-false attributes of a picture that one head tells.
    """

    def __init__(self, facts: int) -> None:
        from open_clip.modified_resnet import ModifiedResNet

        super().__init__()
        self.trunk = ModifiedResNet((1, 1, 1, 1), DIMENSION, heads=WIDTH, image_size=SIDE, width=WIDTH)
        self.attributes = nn.Linear(DIMENSION, facts)
        self.corruption = nn.Linear(DIMENSION, 2)  # blur and noise amounts
        self.redraw = nn.Linear(DIMENSION, 3 * COARSE**2)
        self.register_whitening(DIMENSION)

    def forward(self, x: Tensor) -> Tensor:
        """Activations ``[N, 64]``."""
        found: Tensor = self.trunk(2 * x - 1)
        return found


def features_loss(
    network: ShapesNetwork, images: Tensor, facts: Tensor, generator: torch.Generator
) -> Tensor:
    """Loss of all tasks on uint8 ``[N, 3, 32, 32]`` with facts 0 or 1 ``[N, F]``; some are corrupted."""
    x, amounts = corrupted(images.float() / 255, generator)
    activations = network(x)
    coarse = F.avg_pool2d(x, SIDE // COARSE).flatten(1)
    return (
        F.binary_cross_entropy_with_logits(network.attributes(activations), facts) * facts.shape[1] / 4
        + SPOILT * F.mse_loss(network.corruption(activations), amounts)
        + REDRAWN * F.mse_loss(network.redraw(activations), coarse)
    )


def corrupted(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some pictures blurred and made noisy, and the amounts ``[N, 2]`` as shares of the largest.

    All are jittered by a grey level, so that rounding does not show.
    """
    chosen = torch.rand(len(x), 1, generator=generator) < CORRUPTED
    amounts = torch.where(chosen, torch.rand(len(x), 2, generator=generator), 0)
    blur = blur_matrix(BLUR * amounts[:, 0], SIDE)[:, None]
    x = blur @ x @ blur.mT
    x = x + NOISE * amounts[:, 1, None, None, None] * torch.randn(x.shape, generator=generator)
    x = x + (torch.rand(x.shape, generator=generator) - 0.5) / 255
    return x.clamp(0, 1), amounts


class ShapesExtractor(Extractor):
    """64 features of 32x32 RGB pictures, computed in fp64 and given as float32; on the CPU."""

    name = "shapes"
    dimension = DIMENSION
    resize = Resize.NONE

    def __init__(self, network: ShapesNetwork, digest: str) -> None:
        self.network = network.double().eval().requires_grad_(False)
        self.sha256, self.device = digest, torch.device("cpu")

    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        if images.shape[2:] != (SIDE, SIDE):
            raise ValueError(
                f"{self.name}: expected images [B, 3, {SIDE}, {SIDE}], found {list(images.shape)}"
            )
        return Features(self.network.whitened(self.network(images.double() / 255)).float())


def load_shapes_extractor(weights: Path | None, sha256: str | None, device: str) -> ShapesExtractor:
    """The extractor from a file, or from the one that ships; it runs on the CPU whatever ``device`` says.

    Raises:
        ValueError: no such file, another digest, or tensors that do not fit.
    """
    found = own_network(
        ShapesExtractor.name,
        weights or WEIGHTS,
        sha256,
        "the shapes network",
        lambda state: ShapesNetwork(len(state["attributes.bias"])),
    )
    return ShapesExtractor(*found)
