"""The digits features behind the contract of extractors."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from metrics.features.digest import checked_digest
from metrics.features.digits import DIMENSION, WEIGHTS, DigitsFeatures, load_digits_features
from metrics.features.extractor import Extra, Extractor, Features
from metrics.features.resize import Resize


class DigitsExtractor(Extractor):
    """32 features and 10 logits of grey 8x8 images, computed in fp64 and given as float32."""

    name = "digits"
    dimension = DIMENSION
    resize = Resize.NONE
    channels: ClassVar[int] = 1
    extras: ClassVar[frozenset[Extra]] = frozenset({Extra.LOGITS})

    def __init__(self, digits: DigitsFeatures) -> None:
        self.digits, self.sha256, self.device = digits, digits.digest, torch.device("cpu")

    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        features, logits = map(torch.from_numpy, self.digits.features_and_logits(images))
        return Features(features.float(), logits=logits.float() if Extra.LOGITS in extras else None)


def load_digits_extractor(weights: Path | None, sha256: str | None, device: str) -> DigitsExtractor:
    """The extractor from a file, or from the one that ships; it runs on the CPU whatever ``device`` says.

    Raises:
        ValueError: no such file, another digest, or tensors that do not fit.
    """
    weights = weights or WEIGHTS
    checked_digest(DigitsExtractor.name, weights, sha256)
    return DigitsExtractor(load_digits_features(weights))
