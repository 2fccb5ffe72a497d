"""Whether a CLIP can be trusted: it must put an image's caption before captions known to be false of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from metrics.clip_score import units
from metrics.features.clip import ClipFeatures

TEXTS = 512  # captions embedded at a time


class Beside(NamedTuple):
    """False captions, embedded ``[M, d]``, and the image that each belongs to ``[M]``, in rising order."""

    owners: np.ndarray
    texts: np.ndarray


class Asked(NamedTuple):
    """The captions of images, embedded ``[N, d]``, and by sort of change the false ones beside them."""

    own: np.ndarray
    false: Mapping[str, Beside]


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


def embedded(
    clip: ClipFeatures, captions: Sequence[str], false: Mapping[str, Sequence[Sequence[str]]]
) -> Asked:
    """Embed captions and, by sort of change, any number of false ones for each."""
    beside = {}
    for change, lists in false.items():
        texts = [text for own in lists for text in own]
        owners = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
        beside[change] = Beside(owners, _texts(clip, texts))
    return Asked(_texts(clip, captions), beside)


def ranked_by_change(pictures: np.ndarray, asked: Asked) -> dict[str, float]:
    """R-precision by attribute: share of images nearer to their caption than to every caption changed so.

    Images that have no false caption of a sort do not count for it; a tie is a loss.

    Args:
        pictures: unit embeddings ``[N, d]``.

    Raises:
        ValueError: no image has a false caption of some sort.
    """
    own, found = (pictures * asked.own).sum(axis=1), {}
    for change, (owners, texts) in asked.false.items():
        if len(owners) == 0:
            raise ValueError(f"caption ranking: no caption with another {change}")
        wrong = (pictures[owners] * texts).sum(axis=1)
        rows, starts = np.unique(owners, return_index=True)
        found[change] = float(np.mean(own[rows] > np.maximum.reduceat(wrong, starts)))
    return found


def _texts(clip: ClipFeatures, captions: Sequence[str]) -> np.ndarray:
    parts = [units(clip.texts(captions[at : at + TEXTS])[0]) for at in range(0, len(captions), TEXTS)]
    return np.concatenate(parts) if parts else np.empty((0, clip.dimension))
