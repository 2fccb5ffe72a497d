"""Teacher-sampled (noise, sample) pairs: what a regression loss is trained on, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.noise import Grid
from baselines.diffusion.samplers import heun
from baselines.distiller import Network


@dataclass(frozen=True)
class Pairs:
    """Unit-variance latents ``z [P, ...]``, the samples ``y [P, ...]`` they lead to, and their conditions."""

    z: Tensor
    y: Tensor
    cond: Cond

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, index: Tensor) -> Pairs:
        return Pairs(self.z[index], self.y[index], self.cond[index])

    @staticmethod
    def join(parts: list[Pairs]) -> Pairs:
        """All pairs of several lists, in order."""
        cond = Cond.join([part.cond for part in parts])
        return Pairs(torch.cat([part.z for part in parts]), torch.cat([part.y for part in parts]), cond)

    def state(self) -> dict[str, Tensor]:
        """As named tensors."""
        label = {} if self.cond.label is None else {"label": self.cond.label}
        return {"z": self.z, "y": self.y, **label, **self.cond.asked()}

    @staticmethod
    def from_state(state: Mapping[str, Any], device: torch.device) -> Pairs:
        """The inverse of ``state``, on a device."""
        cond = Cond(**{name: value for name, value in state.items() if name not in ("z", "y")})
        return Pairs(state["z"].to(device), state["y"].to(device), cond.to(device))


def check_count(found: int, expected: int) -> None:
    """Raise ValueError unless all the pairs made so far are there."""
    if found != expected:
        raise ValueError(f"found {found} teacher-sampled pairs, expected {expected}: pairs were lost")


@torch.no_grad()
def sample_pairs(denoiser: Network, z: Tensor, cond: Cond, grid: Grid, steps: int) -> Pairs:
    """Pairs by EDM's deterministic Heun sampler from pure noise z: ``2 steps - 1`` evaluations each."""
    return Pairs(z, heun(denoiser, z * grid.start(grid.sigma_max), grid.solver(steps), cond), cond)
