"""PD: progressive distillation (Salimans and Ho, ICLR 2022), on EDM's Karras ladder.

Each stage halves the steps: the student learns to do in one Euler step what the previous one does in two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.diffusion.samplers import ddim_step
from baselines.distiller import Batch, Context, Draws, Needs, Network, Settings, Space, Teacher, descend
from baselines.generators import KarrasLadder
from baselines.losses import pixel_mean, truncated_snr_weight
from baselines.states import StateDistiller

Steps = Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]  # the halving ladder


class PDConfig(Settings):
    """Options of PD; rates as in the official CIFAR-10 run, the ladder shortened for small budgets."""

    first: Steps = Field(64, description="steps of the first student (its teacher takes twice)")
    serves: tuple[Steps, ...] = Field((1, 2, 4, 8), description="step counts that are kept and evaluated")
    late_share: float = Field(2.0, gt=0, description="length of the stages for 2 and 1 steps; others are 1")
    lr: float = Field(5e-5, gt=0, description="Adam rate at the start of a stage; linear to 0 within it")
    clip: float = Field(1.0, gt=0, description="L2 norm at which gradients are cut")


@dataclass(frozen=True)
class State:
    """Where the student is trained: noisy ``x`` at level a; b and c are the levels of the teacher's steps."""

    x: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    cond: Cond


def convex_target(d1: Tensor, d2: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The x-target whose single Euler step a -> c lands where two teacher steps a -> b -> c do.

    ``w1 D(x; a) + w2 D(x'; b)``, ``w1 = c(a-b) / (b(a-c))``, ``w2 = a(b-c) / (b(a-c))``; levels fp64 ``[B]``.
    """
    w1 = c * (a - b) / (b * (a - c))
    return per_sample(w1, d1) * d1 + per_sample(a * (b - c) / (b * (a - c)), d1) * d2


class ProgressiveDistillation(StateDistiller):
    """The halving ladder first, ..., 2, 1; stages share the budget, the last two take ``late_share`` each."""

    name: ClassVar[str] = "progressive"
    paper: ClassVar[str] = "salimans2022pd"
    summary: ClassVar[str] = "progressive distillation: one training serves 1, 2, 4 and 8 steps"
    needs: ClassVar[Needs] = Needs(data=True)
    Config: ClassVar[type[Settings]] = PDConfig

    def __init__(self, teacher: Teacher, config: PDConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        self.ladder = [config.first >> k for k in range(config.first.bit_length())]
        shares = torch.tensor([config.late_share if n <= 2 else 1 for n in self.ladder], dtype=torch.float64)
        self.ends = (shares.cumsum(0) / shares.sum()).tolist()  # progress at which each stage ends
        self.student = context.network("student", teacher.net)
        self.previous = context.network("teacher-of-stage", teacher.net, trainable=False)
        kept: list[int] = [n for n in config.serves if 1 < n <= config.first]
        self.kept = {n: context.network(f"student-{n}", teacher.net, trainable=False) for n in kept}
        self.optimizer = context.optimizer("student", self.student, lr=config.lr)
        self.stage, self.work_done = 0, dict[int, float]()

    @classmethod
    def served_nfe(cls, config: Any) -> tuple[int, ...]:
        return tuple(sorted(n for n in config.serves if n <= config.first))

    def advance(self) -> None:
        """Freeze the student as the next teacher, keep it if served; start afresh: Adam state, rate, N/2."""
        steps, weights = self.ladder[self.stage], self.student.plain.state_dict()
        self.previous.plain.load_state_dict(weights)
        if steps in self.kept:
            self.kept[steps].plain.load_state_dict(weights)
        self.work_done[steps] = self.context.work
        self.optimizer.state.clear()
        self.stage += 1

    def span(self) -> tuple[float, float]:
        return self.ends[self.stage - 1] if self.stage else 0.0, self.ends[self.stage]

    def rate(self) -> float:
        """Linear from ``lr`` to 0 within the stage, by the share of the stage's budget already spent."""
        return float(self.config.lr * (1 - self.spent()))

    def sampler_levels(self) -> list[float]:
        return self.space.grid.nodes(self.ladder[self.stage])[:-1].tolist()

    def state_at(self, x: Tensor, node: Tensor, cond: Cond) -> State:
        a, b, c = (self.space.grid((node.double() + h) / self.ladder[self.stage]) for h in (0, 0.5, 1))
        return State(x, a, b, c, cond)

    def student_step(self, state: State, node: int, draws: Draws) -> Tensor:
        return ddim_step(state.x, self.bounded(self.student)(state.x, state.a, state.cond), state.a, state.c)

    def teacher_step(self, state: State, node: int) -> Tensor:
        return ddim_step(state.x, self.target(state), state.a, state.c)  # where its two steps lead

    @torch.no_grad()
    def target(self, state: State) -> Tensor:
        """Two Euler steps of the stage's teacher, as the student's x-target."""
        teacher = self.bounded(self.previous if self.stage else self.teacher.denoiser)
        d1 = teacher(state.x, state.a, state.cond)
        d2 = teacher(ddim_step(state.x, d1, state.a, state.b), state.b, state.cond)
        return convex_target(d1, d2, state.a, state.b, state.c)

    def loss(self, state: State) -> Tensor:
        """``max(1/sigma^2, 1) ||D_theta(x; a) - target||^2``, mean over pixels and batch."""
        error = (self.student(state.x, state.a, state.cond) - self.target(state)) ** 2
        return (truncated_snr_weight(state.a).to(error.dtype) * pixel_mean(error)).mean()

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        if self.stage + 1 < len(self.ladder) and self.context.progress >= self.ends[self.stage]:
            self.advance()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        loss = self.loss(self.draw_state(batch))
        descend(loss, self.optimizer, clip=self.config.clip)
        return {"loss": loss.detach(), "steps": float(self.ladder[self.stage])}

    def students(self) -> dict[int, Network]:
        done = {n: self.kept[n] for n in self.kept if n in self.work_done}
        return {**done, self.ladder[self.stage]: self.student}

    def work_by_nfe(self) -> dict[int, float]:
        return dict(self.work_done)

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> KarrasLadder:
        return KarrasLadder(students, space.grid)

    def extra_state(self) -> dict[str, Any]:
        return {"stage": self.stage, "work_done": {str(n): work for n, work in self.work_done.items()}}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.stage = int(state["stage"])
        self.work_done = {int(n): work for n, work in state["work_done"].items()}
