"""What the small feature networks of embedded suites share: convolutions, a vector, and its whitening."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SmallNetwork(nn.Module):
    """Convolutions on pictures in [0, 1] to one vector, with a linear head for each task.

    Parameters are left unset: ``initialise`` draws them from a generator, ``load_state_dict`` reads them.
    Subclasses make ``conv1`` to ``conv4``, ``project`` and their heads on the device "meta" (so that nothing
    is drawn from the global generator), then call ``settle``.
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d
    project: nn.Linear
    centre: Tensor
    whiten: Tensor

    def settle(self) -> None:
        """Take place on the CPU; features = (activations - centre) @ whiten, from the training set."""
        self.to_empty(device="cpu")
        dimension = self.project.out_features
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("whiten", torch.eye(dimension))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights (Kaiming normal, zero biases)."""
        for layer in self.children():
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Penultimate activations ``[N, D]``, after a SiLU."""
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.silu(layer(x))
        return F.silu(self.project(x.flatten(1)))

    def whitened(self, activations: Tensor) -> Tensor:
        """Features ``[N, D]`` of activations."""
        return (activations - self.centre) @ self.whiten
