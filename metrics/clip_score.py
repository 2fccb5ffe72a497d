"""CLIP score (Hessel et al., 2021, arXiv:2104.08718): how well images fit their captions, and R-precision.

The score is the mean cosine of image and caption embeddings: not clipped at zero, and times ``scale``, which
is 1 or 100 in tables and so stands in the result, with all else that moves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.features.clip import ClipFeatures


@dataclass(frozen=True)
class ClipScore:
    """A CLIP score and what it rests on.

    Attributes:
        score: mean cosine times ``scale``.
        std: spread over images, times ``scale``.
        count: images.
        model, pretrained, sha256: the network, as open_clip names it, and the digest of its file.
        prefix: put before every caption.
        truncated: captions that were longer than the network's context, prefix included.
        scale: factor on the cosine.
        resize: name of the law by which images reach the network's size.
    """

    score: float
    std: float
    count: int
    model: str
    pretrained: str
    sha256: str | None
    prefix: str
    truncated: int
    scale: float
    resize: str


class Embedded(NamedTuple):
    """Unit embeddings of images and of their captions, row by row, fp64 ``[N, d]`` each."""

    images: np.ndarray
    captions: np.ndarray
    truncated: int

    def cosines(self) -> np.ndarray:
        """Of each image and its caption ``[N]``."""
        return np.asarray((self.images * self.captions).sum(axis=1))


def embed_pairs(
    clip: ClipFeatures, batches: Iterable[Tensor], captions: Sequence[str], prefix: str = ""
) -> Embedded:
    """Embed images, in batches uint8 ``[B, 3, H, W]``, and the captions in the same order.

    Raises:
        ValueError: images and captions differ in number, there are none, or images are not uint8.
    """
    pictures, texts, truncated, start = [], [], 0, 0
    for images in batches:
        own = [prefix + caption for caption in captions[start : start + len(images)]]
        start += len(images)
        if len(own) < len(images):
            break
        pictures.append(units(clip(images)))
        embedded, cut = clip.texts(own)
        texts.append(units(embedded))
        truncated += cut
    if start != len(captions) or start == 0:
        more = " or more" if start > len(captions) else ""
        raise ValueError(
            f"CLIP score: {start}{more} images and {len(captions)} captions; expected one for each image"
        )
    return Embedded(np.concatenate(pictures), np.concatenate(texts), truncated)


def clip_score(
    clip: ClipFeatures,
    batches: Iterable[Tensor],
    captions: Sequence[str],
    prefix: str = "",
    scale: float = 1.0,
) -> ClipScore:
    """Mean cosine of images, in batches uint8 ``[B, 3, H, W]``, and ``prefix + caption``, times ``scale``.

    Raises:
        ValueError: as ``embed_pairs``.
    """
    pairs = embed_pairs(clip, batches, captions, prefix)
    cosines = scale * pairs.cosines()
    return ClipScore(
        score=float(cosines.mean()),
        std=float(cosines.std()),
        count=len(cosines),
        model=clip.model,
        pretrained=clip.pretrained,
        sha256=clip.sha256,
        prefix=prefix,
        truncated=pairs.truncated,
        scale=scale,
        resize=str(clip.resize),
    )


def r_precision(
    pairs: Embedded, captions: Sequence[str], rng: np.random.Generator, distractors: int = 99
) -> float:
    """Share of images nearer to their own caption than to each of ``distractors`` others; an extra.

    Others are drawn without replacement among captions of another text (Xu et al., 2018, arXiv:1711.10485).

    Raises:
        ValueError: lengths differ, or an image has fewer other captions than ``distractors``.
    """
    if len(captions) != len(pairs.images):
        raise ValueError(f"R-precision: {len(pairs.images)} images and {len(captions)} captions")
    names = np.asarray(captions)
    won = 0
    for image, own, name in zip(pairs.images, pairs.captions, names, strict=True):
        others = np.flatnonzero(names != name)
        if distractors < 1 or len(others) < distractors:
            raise ValueError(
                f"R-precision: {len(others)} other captions for an image; expected {distractors} or more, "
                "and one distractor or more"
            )
        drawn = pairs.captions[rng.choice(others, distractors, replace=False)]
        won += bool(image @ own > (drawn @ image).max())
    return won / len(names)


def units(embeddings: Tensor) -> np.ndarray:
    """Embeddings ``[N, d]`` scaled to length 1, fp64."""
    return np.asarray(F.normalize(embeddings.cpu().to(torch.float64), dim=1))
