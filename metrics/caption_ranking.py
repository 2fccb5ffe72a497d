"""Whether a CLIP can be trusted: it must put an image's caption before captions known to be false of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from metrics.features.clip import ClipFeatures


def caption_scores(clip: ClipFeatures, images: Tensor, captions: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Cosines of each image uint8 ``[N, 3, H, W]`` with each of its captions, fp64.

    Raises:
        ValueError: images and lists of captions differ in number.
    """
    if len(images) != len(captions):
        raise ValueError(f"caption ranking: {len(images)} images and {len(captions)} lists of captions")
    pictures = F.normalize(clip(images).double(), dim=1)
    found = []
    for picture, own in zip(pictures, captions, strict=True):
        texts, _ = clip.texts(own)
        found.append(np.asarray(F.normalize(texts.double(), dim=1) @ picture))
    return found


def ranked_first(scores: Sequence[np.ndarray]) -> float:
    """Share of images whose first caption, the true one, scores above all others; a tie is a loss."""
    return float(np.mean([own[0] > own[1:].max() for own in scores]))
