"""The contract of feature extractors: uint8 images in, float32 features out, nothing else to configure.

An extractor states what makes its numbers comparable: the digest of its weights and its resize law. Weights
are a file that the caller names; nothing is downloaded here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Tensor

from metrics.features.resize import Resize
from metrics.precision import tf32


class Extra(StrEnum):
    """Outputs beside the pooled features."""

    LOGITS = "logits"
    """Class logits without the bias of the last layer, which the Inception Score needs."""
    SPATIAL = "spatial"
    """Flattened features of an inner layer, which sFID needs."""


@dataclass(frozen=True, eq=False)
class Features:
    """What one pass gives, float32, on the extractor's device.

    Attributes:
        pool: ``[B, d]``, what distances are taken of.
        logits: ``[B, classes]``; None unless asked for.
        spatial: ``[B, s]``; None unless asked for.
    """

    pool: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None


class Extractor(ABC):
    """A frozen feature network.

    Attributes:
        name: its name in the registry.
        sha256: digest of the weights file; None only where there are no weights.
        dimension: number of features d.
        resize: the law by which images reach the size the network sees.
        channels: of the images it takes.
        extras: outputs it can give beside the pooled features.
        device: where it runs; images may live anywhere.
    """

    name: str
    sha256: str | None
    dimension: int
    resize: Resize
    channels: ClassVar[int] = 3
    extras: ClassVar[frozenset[Extra]] = frozenset()
    device: torch.device

    def __call__(self, images: Tensor) -> Tensor:
        """Pooled features, float32 ``[B, d]``, of images uint8 ``[B, C, H, W]``.

        Raises:
            ValueError: as ``extract``.
        """
        return self.extract(images).pool

    def extract(self, images: Tensor, extras: Collection[Extra] = ()) -> Features:
        """Features of images uint8 ``[B, C, H, W]``, and the ``extras`` asked for.

        Raises:
            ValueError: not uint8 images of that rank and channel count, an empty batch, an output that this
                extractor does not have, or features that are NaN or infinite.
        """
        self._admit(images)
        wanted = frozenset(extras)
        if missing := wanted - self.extras:
            have = ", ".join(sorted(self.extras)) or "none"
            raise ValueError(
                f"{self.name}: has no output {', '.join(sorted(missing))}; extra outputs: {have}"
            )
        with torch.inference_mode(), full_precision():
            found = self._forward(images.to(self.device), wanted)
        self._check(found)
        return found

    @abstractmethod
    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        """Resize and run admitted images, on the device."""

    def _admit(self, images: Tensor) -> None:
        if images.dtype != torch.uint8:
            raise ValueError(
                f"{self.name}: expected uint8 images, found {images.dtype}; round to grey levels first: "
                "features of unrounded images are another protocol"
            )
        if images.ndim != 4 or images.shape[1] != self.channels or images.numel() == 0:
            raise ValueError(
                f"{self.name}: expected images [B, {self.channels}, H, W] with B >= 1, "
                f"found shape {list(images.shape)}"
            )

    def _check(self, found: Features) -> None:
        for name, values in vars(found).items():
            if values is not None and not bool(torch.isfinite(values).all()):
                bad = int((~torch.isfinite(values).flatten(1).all(dim=1)).sum())
                raise ValueError(
                    f"{self.name}: {name} of {bad} of {len(values)} images hold NaN or infinity; "
                    "expected finite features: check the weights file"
                )


def full_precision() -> AbstractContextManager[None]:
    """No TF32 inside: a GPU then gives the features of a CPU to float32 rounding. Settings are restored."""
    return tf32(False)
