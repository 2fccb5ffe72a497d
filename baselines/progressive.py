"""PD: progressive distillation (Salimans and Ho, ICLR 2022), on EDM's Karras ladder.

Each stage halves the steps: the student learns to do in one Euler step what the previous student does in two.
The target is a convex mix of two denoiser outputs: the paper's quotient without its cancellation.
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
from baselines.distiller import Batch, Context, Distiller, Needs, Network, Settings, Space, Teacher, descend
from baselines.generators import KarrasLadder
from baselines.losses import pixel_mean, truncated_snr_weight

Steps = Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]  # the halving ladder


class PDConfig(Settings):
    """Options of PD; rates as in the official CIFAR-10 run, the ladder shortened for small budgets."""

    first: Steps = Field(64, description="steps of the first student (its teacher takes twice)")
    serves: tuple[Steps, ...] = Field((1, 2, 4, 8), description="step counts that are kept and evaluated")
    late_share: float = Field(
        2.0, gt=0, description="length of the stages for 2 and 1 steps, relative to the others"
    )
    lr: float = Field(5e-5, gt=0, description="Adam rate at the start of each stage; linear to 0 within it")
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


class ProgressiveDistillation(Distiller):
    """The halving ladder first, ..., 2, 1; stages share the budget, the last two take ``late_share`` each."""

    name: ClassVar[str] = "progressive"
    paper: ClassVar[str] = "salimans2022pd"
    summary: ClassVar[str] = "progressive distillation: one training serves 1, 2, 4 and 8 steps"
    needs: ClassVar[Needs] = Needs(data=True)
    Config: ClassVar[type[Settings]] = PDConfig

    def __init__(self, teacher: Teacher, config: PDConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        self.ladder = [config.first >> k for k in range(config.first.bit_length())]
        shares = torch.tensor(
            [config.late_share if n <= 2 else 1.0 for n in self.ladder], dtype=torch.float64
        )
        self.ends = (shares.cumsum(0) / shares.sum()).tolist()  # progress at which each stage ends
        self.student = context.network("student", teacher.net)
        self.previous = context.network("teacher-of-stage", teacher.net, trainable=False)
        kept: list[int] = [n for n in config.serves if 1 < n <= config.first]
        self.kept = {n: context.network(f"student-{n}", teacher.net, trainable=False) for n in kept}
        self.optimizer = context.optimizer("student", self.student, lr=config.lr)
        self.stage = 0
        self.work_done: dict[int, float] = {}

    @classmethod
    def served_nfe(cls, config: Any) -> tuple[int, ...]:
        return tuple(sorted(n for n in config.serves if n <= config.first))

    def advance(self) -> None:
        """Freeze the student as the next teacher, keep it if served; start afresh: Adam state, rate, N/2."""
        steps = self.ladder[self.stage]
        weights = self.student.plain.state_dict()
        self.previous.plain.load_state_dict(weights)
        if steps in self.kept:
            self.kept[steps].plain.load_state_dict(weights)
        self.work_done[steps] = self.context.work
        self.optimizer.state.clear()
        self.stage += 1

    def rate(self) -> float:
        """Linear from ``lr`` to 0 within the stage, by the share of the stage's budget already spent."""
        start = self.ends[self.stage - 1] if self.stage else 0.0
        spent = (self.context.progress - start) / (self.ends[self.stage] - start)
        return float(self.config.lr * min(1.0, max(0.0, 1 - spent)))

    def draw_state(self, batch: Batch) -> State:
        """Data noised to a uniformly drawn node of the student's ladder."""
        draws, steps = self.context.draws(), self.ladder[self.stage]
        node = draws.integers(0, steps, batch.size).double()
        a, b, c = (self.space.grid((node + half) / steps) for half in (0.0, 0.5, 1.0))
        x = batch.x0 + per_sample(a, batch.x0) * draws.normal(*batch.x0.shape)
        return State(x, a, b, c, batch.cond)

    @torch.no_grad()
    def target(self, state: State) -> Tensor:
        """Two Euler steps of the stage's teacher, as the student's x-target."""
        teacher = self.previous if self.stage else self.teacher.denoiser
        d1 = teacher(state.x, state.a, state.cond)
        ratio = per_sample(state.b / state.a, state.x)
        d2 = teacher(d1 + ratio * (state.x - d1), state.b, state.cond)
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
