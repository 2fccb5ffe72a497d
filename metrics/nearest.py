"""Distance to the nearest training image: does a generator copy its training set?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import uint8_images

BLOCK = 1000  # images at a time
COPY_QUANTILE = 0.01


def nearest_distance(images: ArrayLike, train: ArrayLike) -> np.ndarray:
    """Per image the root mean square pixel difference to its nearest training image, pixels in [0, 1].

    uint8 ``[N, C, H, W]`` and ``[M, C, H, W]`` to ``[N]`` in fp64; exact, all sums being of integers.

    Raises:
        ValueError: not uint8 images, or of different shapes.
    """
    images, train = uint8_images(images, "images"), uint8_images(train, "train")
    if images.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"images are {list(images.shape[1:])} and train {list(train.shape[1:])}; expected the same shape"
        )
    known = train.reshape(len(train), -1).astype(np.float64)
    nearest = []
    for start in range(0, len(images), BLOCK):
        rows = images[start : start + BLOCK].reshape(-1, known.shape[1]).astype(np.float64)
        squares = (rows**2).sum(1)[:, None] + (known**2).sum(1) - 2 * rows @ known.T
        nearest.append(squares.min(axis=1))
    return np.sqrt(np.concatenate(nearest) / known.shape[1]) / 255


@dataclass(frozen=True)
class Memorisation:
    """Nearest-training-image distances of fakes beside those of held-out images (RMS, pixels in [0, 1]).

    Attributes:
        fake_to_train, held_out_to_train: means; a generator that copies has the first well below the second.
        copies: share of fakes nearer to a training image than the nearest 1 % of held-out; chance is 0.01.
    """

    fake_to_train: float
    held_out_to_train: float
    copies: float


def memorisation(*, fake: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> Memorisation:
    """How near fakes come to the training set, beside images of the same law that were never trained on.

    All uint8 ``[*, C, H, W]``.

    Raises:
        ValueError: not uint8 images, or of different shapes.
    """
    fakes, unseen = nearest_distance(fake, train), nearest_distance(held_out, train)
    threshold = np.quantile(unseen, COPY_QUANTILE)
    return Memorisation(float(fakes.mean()), float(unseen.mean()), float((fakes < threshold).mean()))
