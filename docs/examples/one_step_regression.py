"""One-step regression: reach in one evaluation what the teacher's Heun solver reaches in many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from baselines.diffusion.samplers import heun
from baselines.distiller import Batch, Context, Distiller, Network, Settings, Space, Teacher, descend
from baselines.generators import OneStep


class OneStepConfig(Settings):
    """Options: every field has a default, a range and a description with its unit."""

    lr: float = Field(1e-3, gt=0, description="Adam rate")
    solver_steps: int = Field(8, gt=0, description="Heun steps of the target; n steps are 2n - 1 evaluations")


class OneStepRegression(Distiller):
    """Minimises ``mean (D_theta(x; sigma_max) - heun(x))^2`` over ``x = sigma_max z``; data-free."""

    name: ClassVar[str] = "one_step_regression"
    paper: ClassVar[str] = "karras2022edm"  # of the solver that makes the targets
    summary: ClassVar[str] = "one-step regression onto the teacher's Heun samples"
    Config: ClassVar[type[Settings]] = OneStepConfig

    def __init__(self, teacher: Teacher, config: OneStepConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        self.student = context.network("student", teacher.net)
        self.optimizer = context.optimizer("student", self.student, lr=config.lr)

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        z = self.context.draws().normal(batch.size, *self.space.shape)
        x, sigmas = z * self.space.sigma_max, self.space.grid.solver(self.config.solver_steps)
        with torch.no_grad():
            target = heun(self.teacher.denoiser, x, sigmas, batch.cond)
        loss = (self.student(x, self.space.sigma_max, batch.cond) - target).square().mean()
        descend(loss, self.optimizer)
        return {"loss": loss.detach()}

    def students(self) -> dict[int, Network]:
        return {1: self.student}

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> OneStep:
        return OneStep(students, space.sigma_max)
