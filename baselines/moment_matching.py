"""MM: multistep distillation by moment matching (Salimans et al., NeurIPS 2024; no official code).

z_t is noised data, x_hat the student's estimate, ``z_s ~ q(z_s | z_t, x_hat)``; theta is the teacher, phi is
fitted to x_hat: a network trained on every other iteration, or theta after an infinitesimal step (instant).
Units per sample and iteration: 5 alternating, of either kind; 10 instant, 3 while its Lambda is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.auxiliary import Auxiliary, InfinitesimalStep
from baselines.diffusion.noise import edm_weight
from baselines.diffusion.posterior import StepPairs, Transition
from baselines.distiller import Batch, Context, Distiller, Needs, Network, Settings, Space, Teacher, descend
from baselines.generators import Ancestral
from baselines.losses import pixel_sum
from baselines.rates import set_rate

Estimate = Callable[[Transition], Tensor]


class MMConfig(Settings):
    """Options of moment matching; defaults as in public reproductions, the rate for smaller batches."""

    steps: Literal[1, 2, 4, 8] = Field(8, description="steps of the student, the only count a run serves")
    variant: Literal["alternating", "instant"] = Field("alternating", description="where g_phi comes from")
    lr: float = Field(1e-5, gt=0, description="Adam rate of both networks; linear to 0 over the budget")
    warmup: int = Field(1000, ge=0, description="iterations of linear warm-up, from rate 0")
    betas: tuple[float, float] = Field((0.0, 0.99), description="Adam betas of both")
    clip: float = Field(1.0, gt=0, description="L2 norm at which gradients are cut, each network alone")
    real_batches: int = Field(64, ge=0, description="instant: iterations that measure Lambda; 0: identity")


class MomentMatching(Distiller):
    """The student, and an auxiliary network phi that starts as (instant: stays) the teacher's theta."""

    name: ClassVar[str] = "moment_matching"
    paper: ClassVar[str] = "salimans2024mm"
    summary: ClassVar[str] = "moment matching: E[x|z] as in the data; trained anew for each step count"
    needs: ClassVar[Needs] = Needs(data=True)
    Config: ClassVar[type[Settings]] = MMConfig

    def __init__(self, teacher: Teacher, config: MMConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        self.pairs = StepPairs(self.space.grid, config.steps)
        self.student = context.network("student", teacher.net)
        kind: Any = {"alternating": Alternating, "instant": Instant}[config.variant]
        self.phi = context.network("auxiliary", kind.origin(teacher))
        self.adam = partial(context.optimizer, lr=config.lr, betas=config.betas, eps=1e-12)
        self.optimizers = {"student": self.adam("student", self.student)}
        self.moments: Alternating | Instant = kind(self)

    @classmethod
    def served_nfe(cls, config: Any) -> tuple[int, ...]:
        return (config.steps,)

    def draw_state(self, batch: Batch) -> Transition:
        return self.pairs.draw(batch.x0, batch.cond, self.context.draws())

    def predict(self, state: Transition) -> Tensor:
        return state.estimate(self.student)

    def weigh(self, state: Transition, values: Tensor) -> Tensor:
        """EDM's w(s) times the sum over pixels, mean over the batch."""
        return (edm_weight(state.sigma_s, self.space.sigma_data).to(values) * pixel_sum(values)).mean()

    def loss(self, state: Transition) -> Tensor:
        """``w(s) x_hat . sg[g_phi - g_theta](z_s)``; linear, so its value is no measure of progress."""
        x_hat = self.predict(state)
        return self.weigh(state, x_hat * self.moments.phi.difference(*state.land(x_hat)))

    def error(self, batch: Batch, estimate: Estimate, phi: Auxiliary | InfinitesimalStep) -> Tensor:
        """What fits phi at z_s to estimates of x."""
        state = self.draw_state(batch)
        with torch.no_grad():
            x_hat = estimate(state)
        return self.weigh(state, phi.error(x_hat, *state.land(x_hat)))

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        context, config = self.context, self.config
        for optimizer in self.optimizers.values():
            warm: dict[str, int] = {"iteration": context.iteration, "warmup": config.warmup}
            set_rate(optimizer, config.lr, **warm, progress=context.progress, anneal=1.0)
        if log := self.moments.update(batch):
            return log
        descend(loss := self.loss(self.draw_state(batch)), self.optimizers["student"], clip=config.clip)
        return {"loss": loss.detach()}

    def students(self) -> dict[int, Network]:
        return {self.config.steps: self.student}

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> Ancestral:
        return Ancestral(students, space.grid)

    def extra_state(self) -> dict[str, Any]:
        return self.moments.state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.moments.state.update(state)


class Alternating:
    """phi is a network fitted on even iterations; theta, only evaluated, is the closed form if one exists."""

    @staticmethod
    def origin(teacher: Teacher) -> Network:
        return teacher.net  # the conditional one, whether the teacher is guided or not

    def __init__(self, method: MomentMatching) -> None:
        self.method, self.phi = method, Auxiliary(method.phi, method.teacher.denoiser)
        method.optimizers["auxiliary"] = method.adam("auxiliary", method.phi)
        self.state: dict[str, Any] = {}

    def update(self, batch: Batch) -> dict[str, float | Tensor]:
        """``w(s) (|x_hat - g_phi|^2 + |g_phi - g_theta|^2)``: halves the difference, keeps its zeros."""
        if self.method.context.iteration % 2:
            return {}
        loss = self.method.error(batch, self.method.predict, self.phi)
        descend(loss, self.method.optimizers["auxiliary"], clip=self.method.config.clip)
        return {"auxiliary_loss": loss.detach()}


class Instant:
    """phi is theta, the teacher's network, after an infinitesimal step that fits a second batch."""

    @staticmethod
    def origin(teacher: Teacher) -> Network:
        """What phi is a copy of: the guided network where there is one, differentiated as a whole."""
        return teacher.guided or teacher.net

    def __init__(self, method: MomentMatching) -> None:
        self.method, self.phi = method, InfinitesimalStep(method.phi, method.config.real_batches)
        self.state = self.phi.squares

    def update(self, batch: Batch) -> dict[str, float | Tensor]:
        """First Lambda, from theta's error on real data; then, at every iteration, the step."""
        if (iteration := self.method.context.iteration) < self.phi.batches:
            self.phi.measure(self.method.error(batch, lambda state: state.x0, self.phi))
            return {"measured": iteration + 1.0}
        fresh = self.method.context.next_batch()
        self.phi.follow(self.method.error(fresh, self.method.predict, self.phi))
        return {}
