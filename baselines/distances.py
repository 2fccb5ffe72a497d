"""Distances between images that no metric uses: injected where a paper has a perceptual network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Distance(Protocol):
    """A pixel-wise distance."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each pixel, ``[B, ...]``."""


@dataclass(frozen=True)
class SquaredL2:
    """``(a - b)^2``."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square()


@dataclass(frozen=True)
class PseudoHuber:
    """``sqrt((a - b)^2 + c^2) - c`` of each pixel, c in data units (LCM; iCT takes the norm of the image)."""

    c: float = 0.001

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        squared = (a - b).square()
        # the plain difference of roots cancels for |a - b| << c
        return squared / ((squared + self.c**2).sqrt() + self.c)


DISTANCES: Mapping[str, Distance] = {"l2": SquaredL2(), "huber": PseudoHuber()}
