"""Exponential moving average of weights, with the half-life in images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class EMALaw:
    """Decay law ``0.5^(batch / min(half_life, ramp * images))`` (EDM ``training_loop``).

    Attributes:
        half_life: in images; 0 means no averaging (the average is the live weights).
        ramp: the half-life never exceeds this share of the images seen, None for no ramp.
    """

    half_life: float = 500_000
    ramp: float | None = 0.05

    def decay(self, batch: int, images_before: int) -> float:
        """Weight of the old average after a step of ``batch`` images, ``images_before`` seen before it."""
        half_life = self.half_life if self.ramp is None else min(self.half_life, images_before * self.ramp)
        return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def ema_update(average: nn.Module, live: nn.Module, decay: float) -> None:
    """Move ``average`` to ``decay * average + (1 - decay) * live``; buffers are copied."""
    source, target = [p.detach() for p in live.parameters()], [p.detach() for p in average.parameters()]
    if decay == 0:
        for old, new in zip(target, source, strict=True):  # tensors in shards cannot be copied as a list
            old.copy_(new)
    else:
        torch._foreach_lerp_(target, source, 1 - decay)
    for buffer, new in zip(average.buffers(), live.buffers(), strict=True):
        buffer.copy_(new)
