"""Samplers of affine networks, seen through impulses at their noise sources."""

from __future__ import annotations

import torch
from torch import Tensor


class Impulses:
    """Row r + 1 is 1 at noise source r, row 0 is all zero; the latent may have another mean and spread."""

    def __init__(self, sources: int, mean: float = 0.0, std: float = 1.0) -> None:
        self.sources, self.mean, self.std = sources, mean, std

    def at(self, step: int) -> Tensor:
        return torch.eye(self.sources + 1, dtype=torch.float64)[:, step + 1 : step + 2].clone()

    def initial(self) -> Tensor:
        return self.mean + self.std * self.at(0)


def moments(rows: Tensor) -> tuple[float, float]:
    """Mean and variance of an affine function of the sources."""
    return rows[0].item(), (rows[1:] - rows[0]).square().sum().item()
