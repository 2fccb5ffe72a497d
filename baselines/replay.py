"""First-in first-out memory of rollouts."""

from __future__ import annotations

from collections import deque
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.distiller import Draws
from baselines.states import join, take


class ReplayBuffer:
    """The latest rollouts, each with all the states it visited; a rollout leaves as a whole.

    Args:
        capacity: rollouts kept.
    """

    def __init__(self, capacity: int) -> None:
        self.rollouts: deque[Any] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self.rollouts)

    def push(self, state: Any) -> None:
        """Add the joined states of one rollout; the oldest one leaves when there are too many."""
        self.rollouts.append(state)

    def draw(self, count: int, draws: Draws) -> Any:
        """``count`` stored states, uniform with replacement; each keeps its own condition."""
        sizes = [len(rollout.x) for rollout in self.rollouts]
        rows, start, parts = draws.integers(0, sum(sizes), count), 0, []
        for rollout, size in zip(self.rollouts, sizes, strict=True):
            parts.append(take(rollout, rows[(rows >= start) & (rows < start + size)] - start))
            start += size
        return join(parts)

    def clear(self) -> None:
        """Forget everything."""
        self.rollouts.clear()

    def state(self) -> list[dict[str, Tensor]]:
        """Every rollout as named tensors, oldest first."""
        return [_tensors(rollout) for rollout in self.rollouts]

    def load(self, state: list[dict[str, Tensor]], kind: type, device: torch.device) -> None:
        """Restore ``state``; ``kind`` is the dataclass of the states."""
        self.rollouts.clear()
        for tensors in state:
            values: dict[str, Any] = {n: t.to(device) for n, t in tensors.items() if "." not in n}
            cond = {n.removeprefix("cond."): t.to(device) for n, t in tensors.items() if "." in n}
            self.rollouts.append(kind(**values, cond=Cond(**cond)))


def _tensors(state: Any) -> dict[str, Tensor]:
    """Fields of a state; those of its condition as ``cond.label`` and so on, absent ones left out."""
    flat = {field.name: getattr(state, field.name) for field in fields(state) if field.name != "cond"}
    cond = {f"cond.{f.name}": getattr(state.cond, f.name) for f in fields(state.cond)}
    return {**flat, **{name: tensor for name, tensor in cond.items() if tensor is not None}}
