"""Batches of images through an extractor: to moments, in memory that does not grow with N, or to features."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from metrics.features.extractor import Extra, Extractor, Features
from metrics.moments import RunningMoments


def stream_moments(extractor: Extractor, batches: Iterable[Tensor]) -> RunningMoments:
    """Running moments of the pooled features of images in batches uint8 ``[B, C, H, W]``.

    Memory is that of one batch and of ``[d, d]``. Shares of several processes are joined by ``merge``.

    Raises:
        ValueError: as the extractor.
    """
    running = RunningMoments()
    for images in batches:
        running.update(extractor(images).cpu())
    return running


def collect_features(
    extractor: Extractor, batches: Iterable[Tensor], extras: Collection[Extra] = ()
) -> Features:
    """Features of all images, in the order of the batches, on the CPU: for metrics that need every row.

    Raises:
        ValueError: as the extractor, or no batch.
    """
    parts = [extractor.extract(images, extras) for images in batches]
    if not parts:
        raise ValueError(f"{extractor.name}: expected one batch of images or more, found none")
    joined = {
        name: torch.cat([getattr(part, name).cpu() for part in parts])
        for name in vars(parts[0])
        if getattr(parts[0], name) is not None
    }
    return Features(**joined)
