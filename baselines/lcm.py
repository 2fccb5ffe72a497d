"""LCM: consistency distillation with skipped steps (Luo et al., 2023; the base is Song et al., ICML 2023).

The student f maps any point of a teacher's ODE trajectory to its end: f at a node must agree with the target
network's f at the node ``skip`` fine steps below, reached by one teacher solver step. The scaling pins
``f(x, sigma_min) = x``. On an EDM grid this is CM's consistency distillation of ``fine / skip`` intervals, on
timesteps the paper's own: DDIM jumps of the guided teacher, whose strength w is part of the condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Scaling, per_sample
from baselines.diffusion.ema import ema_update
from baselines.diffusion.noise import Grid
from baselines.diffusion.samplers import STEPS
from baselines.distances import DISTANCES
from baselines.distiller import Batch, Context, Needs, Network, Settings, Space, Teacher, descend
from baselines.generators import RenoisingSteps
from baselines.rates import set_rate
from baselines.states import StateDistiller


class LCMConfig(Settings):
    """Options of LCM: grid, solver and distance of LCM, optimiser of CM's CIFAR-10 run."""

    fine: int = Field(1000, ge=1, description="intervals of the fine Karras grid")
    skip: int = Field(20, ge=1, description="fine intervals per teacher step; divides fine")
    solver: Literal["euler", "heun"] = Field("euler", description="teacher step; heun takes 2 evaluations")
    distance: Literal["huber", "l2"] = Field("huber", description="pixel distance of student and target")
    target_ema: float = Field(0.95, ge=0, le=1, description="weight of the old target per iteration")
    serves: tuple[Literal[1, 2, 4, 8], ...] = Field((1, 2, 4, 8), min_length=1, description="step counts")
    lr: float = Field(4e-4, gt=0, description="Adam rate")
    anneal: float = Field(0.0, ge=0, le=1, description="last share of the budget over which lr falls to 0")

    @model_validator(mode="after")
    def _aligned(self) -> LCMConfig:
        intervals, rest = divmod(self.fine, self.skip)
        if rest or intervals < max(self.serves):
            raise ValueError(
                f"fine = {self.fine} over skip = {self.skip} gives {self.fine / self.skip:g} intervals; take "
                f"a skip that divides fine and leaves at least {max(self.serves)} (the most steps served)"
            )
        return self


@dataclass(frozen=True)
class State:
    """Where the student is trained: noisy ``x`` at node ``upper [B]``; ``lower [B]`` is the next one."""

    x: Tensor
    upper: Tensor
    lower: Tensor
    cond: Cond


def training_nodes(grid: Grid, config: LCMConfig) -> Tensor:
    """Every ``skip``-th node of the fine grid, descending from sigma_max to sigma_min, fp64."""
    return grid.aligned(config.fine, config.skip)


def serving_levels(grid: Grid, config: LCMConfig, steps: int) -> list[float]:
    """Levels of the N-step sampler: evenly spaced training nodes from the top, the end left out."""
    nodes = training_nodes(grid, config)
    return [float(nodes[k * (len(nodes) - 1) // steps]) for k in range(steps)]


class LCM(StateDistiller):
    """Student f (3 units per sample), its slow target network (1), frozen teacher (Euler 1, Heun 2)."""

    name: ClassVar[str] = "lcm"
    paper: ClassVar[str] = "luo2023lcm"
    summary: ClassVar[str] = "consistency distillation with skipped steps: one training serves 1, 2, 4 and 8"
    needs: ClassVar[Needs] = Needs(data=True)
    Config: ClassVar[type[Settings]] = LCMConfig

    def __init__(self, teacher: Teacher, config: LCMConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        scaling, self.floor = self.student_scaling(config, self.space), self.space.grid.floor
        self.student = context.network("student", teacher.net, scaling=scaling)
        self.follower = context.network("target", teacher.net, scaling=scaling, trainable=False)
        self.optimizer = context.optimizer("student", self.student, lr=config.lr)
        self.nodes = training_nodes(self.space.grid, config).to(context.device)
        self.solve, self.distance = STEPS[config.solver], DISTANCES[config.distance]

    @classmethod
    def served_nfe(cls, config: Any) -> tuple[int, ...]:
        return tuple(sorted(config.serves))

    @classmethod
    def student_scaling(cls, config: Any, space: Space) -> Scaling:
        return space.grid.consistency(space.sigma_data)

    def draw_state(self, batch: Batch) -> State:
        """Data noised to a uniformly drawn node (the last one, sigma_min, is only ever a target)."""
        draws = self.context.draws()
        node = draws.integers(0, len(self.nodes) - 1, batch.size)
        x = batch.x0 + per_sample(self.nodes[node], batch.x0) * draws.normal(*batch.x0.shape)
        return State(x, self.nodes[node], self.nodes[node + 1], batch.cond)

    def sampler_levels(self) -> list[float]:
        return serving_levels(self.space.grid, self.config, min(4, max(self.config.serves)))

    def state_at(self, x: Tensor, node: Tensor, cond: Cond) -> State:
        index = node * (len(self.nodes) - 1) // len(self.sampler_levels())
        return State(x, self.nodes[index], self.nodes[index + 1], cond)

    @torch.no_grad()
    def target(self, state: State) -> Tensor:
        """One teacher step down, then the target network's end point."""
        x = self.solve(self.bounded(self.teacher.denoiser), state.x, state.upper, state.lower, state.cond)
        return self.bounded(self.follower)(x, state.lower, state.cond)

    def loss(self, state: State) -> Tensor:
        """``d(f_theta(x; upper), f_target(solver(x); lower))``, mean over pixels and batch."""
        return self.distance(self.student(state.x, state.upper, state.cond), self.target(state)).mean()

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        config, progress = self.config, self.context.progress
        set_rate(self.optimizer, config.lr, progress=progress, anneal=config.anneal)
        loss = self.loss(self.draw_state(batch))
        descend(loss, self.optimizer)
        ema_update(self.follower.plain, self.student.plain, config.target_ema)
        return {"loss": loss.detach()}

    def students(self) -> dict[int, Network]:
        return dict.fromkeys(self.served_nfe(self.config), self.student)

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> RenoisingSteps:
        grid = space.grid
        return RenoisingSteps(students, partial(serving_levels, grid, config), grid.floor, grid)
