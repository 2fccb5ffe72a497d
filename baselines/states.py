"""Methods whose training states can be supplied from outside, and the states themselves.

A state is a frozen dataclass of tensors ``[B, ...]`` and a ``Cond``: where the student is trained.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.samplers import heun
from baselines.distiller import Batch, Distiller, Draws, Network

SOURCES = DATA, TEACHER, STUDENT = range(3)  # noised data; states of the teacher's, of the student's sampler
TEACHER_STEPS = 4  # Heun steps of the teacher between two levels of the student's sampler


def take(state: Any, rows: Tensor) -> Any:
    """Some rows of a state, by index or mask."""
    return replace(state, **{field.name: getattr(state, field.name)[rows] for field in fields(state)})


def join(states: Sequence[Any]) -> Any:
    """States of one kind, one after the other."""
    columns = {f.name: [getattr(state, f.name) for state in states] for f in fields(states[0])}
    return replace(
        states[0],
        **{
            n: Cond.join(parts) if isinstance(parts[0], Cond) else torch.cat(parts)
            for n, parts in columns.items()
        },
    )


class StateDistiller(Distiller):
    """A method whose step trains at ``draw_state(batch)``, so that a wrapper may train it elsewhere (DDIL).

    Besides its own states it tells which states its few-step sampler visits.
    """

    NATIVE: ClassVar[int] = DATA  # source of draw_state
    floor: float = 0.0  # noise level that the student's clean estimates already carry
    student: Network

    def draw_state(self, batch: Batch) -> Any:
        """States to train at, one per sample; by default data noised to uniformly drawn nodes."""
        return self.noised_state(batch, self.context.draws())

    @abstractmethod
    def sampler_levels(self) -> Sequence[float]:
        """Noise levels at which the sampler in training calls the student, descending: its nodes."""

    @abstractmethod
    def state_at(self, x: Tensor, node: Tensor, cond: Cond) -> Any:
        """The state of noisy ``x [B, ...]`` at sampler nodes ``[B]``."""

    def student_step(self, state: Any, node: int, draws: Draws) -> Tensor:
        """The sampler's x at the next node; by default predict, then noise again."""
        levels = self.sampler_levels()
        x_hat = self.bounded(self.student)(state.x, levels[node], state.cond)
        return x_hat + math.sqrt(levels[node + 1] ** 2 - self.floor**2) * draws.normal(*x_hat.shape)

    def teacher_step(self, state: Any, node: int) -> Tensor:
        """The teacher's x at the next node; by default its probability flow, a few Heun steps."""
        high, low = self.sampler_levels()[node : node + 2]
        nodes = KarrasGrid(low, high).nodes(TEACHER_STEPS)
        return heun(self.bounded(self.teacher.denoiser), state.x, nodes, state.cond)

    def span(self) -> tuple[float, float]:
        """First and last progress of the present stage of training."""
        return 0.0, 1.0

    def spent(self) -> float:
        """Share of the present stage's budget that is spent, in [0, 1]."""
        start, end = self.span()
        return min(1.0, max(0.0, (self.context.progress - start) / (end - start)))

    def bounded(self, network: Network) -> Network:
        """A network as targets and samplers use it: as it is, unless a wrapper restrains its estimates."""
        return network

    def noised_state(self, batch: Batch, draws: Draws) -> Any:
        """Data noised to nodes of the sampler, one per sample."""
        node = draws.integers(0, len(self.sampler_levels()), batch.size)
        level = torch.tensor(self.sampler_levels(), dtype=torch.float64, device=node.device)[node]
        return self.state_at(
            batch.x0 + per_sample(level, batch.x0) * draws.normal(*batch.x0.shape), node, batch.cond
        )

    @torch.no_grad()
    def rollout(self, cond: Cond, size: int, teaching: float, draws: Draws) -> Any:
        """All states that a sampler run from pure noise visits, node after node; ``[size * nodes]``.

        ``teaching`` is the chance of a teacher's step, for each sample and step; 0 is the student's own run.
        """
        levels, visited = self.sampler_levels(), []
        x = draws.normal(size, *self.space.shape) * self.space.grid.start(levels[0])
        for node in range(len(levels)):
            visited.append(self.state_at(x, torch.full((size,), node, device=x.device), cond))
            if node + 1 < len(levels):
                x = self._mixed_step(visited[-1], node, draws.uniform(size) < teaching, draws)
        return join(visited)

    def _mixed_step(self, state: Any, node: int, teacher: Tensor, draws: Draws) -> Tensor:
        x = torch.empty_like(state.x)
        if teacher.any():
            x[teacher] = self.teacher_step(take(state, teacher), node)
        if not teacher.all():
            x[~teacher] = self.student_step(take(state, ~teacher), node, draws)
        return x
