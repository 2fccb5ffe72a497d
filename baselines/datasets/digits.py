"""scikit-learn's handwritten digits: 1,797 real 8x8 images of ten classes (UCI ML repository)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from baselines.datasets.images import LabelledImages
from baselines.streams import numpy_generator

HELD_OUT = 0.2  # share kept from every training, for the memorisation check
SPLIT_SEED = 0


@lru_cache(maxsize=1)
def load_digits() -> tuple[LabelledImages, LabelledImages]:
    """Train and held-out split (1,438 and 359 images), uint8 ``[N, 1, 8, 8]``; the split never changes."""
    from sklearn.datasets import load_digits as sklearn_digits

    raw = sklearn_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]  # 17 grey levels 0..16
    order = numpy_generator(SPLIT_SEED, "data").permutation(len(images))
    cut = round(len(images) * HELD_OUT)
    held_out, train = np.sort(order[:cut]), np.sort(order[cut:])
    labels = raw.target.astype(np.int64)
    return (
        LabelledImages(images[train], labels[train], 10),
        LabelledImages(images[held_out], labels[held_out], 10),
    )
