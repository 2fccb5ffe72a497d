"""What the feature networks of embedded suites share: one vector, whitened on the training set."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WhitenedNetwork(nn.Module):
    """Pictures in [0, 1] to activations ``[N, D]``, and these to features, which the Frechet distance is of.

    Subclasses register the whitening when their weights are in place.
    """

    centre: Tensor
    whiten: Tensor

    def register_whitening(self, dimension: int) -> None:
        """features = (activations - centre) @ whiten; the identity until ``whiten_by``."""
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("whiten", torch.eye(dimension))

    @torch.no_grad()
    def whiten_by(self, x: Tensor, ridge: float) -> None:
        """Take centre and matrix from the activations of pictures in [0, 1]; see ``whitening``."""
        centre, whiten = whitening(self(x).double(), ridge)
        self.centre.copy_(centre)
        self.whiten.copy_(whiten)

    def whitened(self, activations: Tensor) -> Tensor:
        """Features ``[N, D]`` of activations."""
        return (activations - self.centre) @ self.whiten


def whitening(activations: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Centre ``[d]`` and matrix ``[d, d]`` that bring rows ``[N, d]`` to mean 0 and total variance d.

    Along the principal axes, variance v becomes ``v / (v + ridge * mean v)``: the nine axes that tell ten
    classes apart hold most of the variance, and would drown what tells styles, blur and noise apart.
    """
    centre = activations.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov(activations.T))
    whiten = axes / (variances + ridge * variances.mean()).sqrt()
    total = (variances / (variances + ridge * variances.mean())).sum()
    return centre, whiten * (len(centre) / total).sqrt()
