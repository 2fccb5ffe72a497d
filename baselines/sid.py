"""SiD: Score identity Distillation (Zhou et al., ICML 2024). One step, data-free.

Teacher f_phi and fake score f_psi are denoisers, x_t = x_g + sigma n. With delta = f_phi(x_t) - f_psi(x_t),
the generator minimises ``omega delta [(f_phi - x_g) - alpha delta]``; gradients flow through x_g and through
the inputs of both denoisers, only the normaliser omega is detached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.distiller import (
    Batch,
    Context,
    Distiller,
    Needs,
    Network,
    Settings,
    Space,
    Teacher,
    descend,
    frozen,
)
from baselines.fake_score import FakeScore, KarrasTimeLaw
from baselines.generators import OneStep
from baselines.losses import pixel_mean, pixel_sum
from baselines.rates import set_rate


class SiDConfig(Settings):
    """Options of SiD; the defaults are those of the official CIFAR-10 run."""

    alpha: float = Field(1.2, description="weight of the delta^2 term; 1.0 or 1.2 in the paper")
    sigma_init: float = Field(
        2.5, gt=0, description="noise level at which the generator is evaluated, data units"
    )
    t_max: float = Field(
        0.8, gt=0, le=1, description="largest Karras time of the generator loss (1 is sigma_max)"
    )
    lr: float = Field(1e-5, gt=0, description="Adam rate of the generator")
    lr_fake: float = Field(1e-5, gt=0, description="Adam rate of the fake score")
    anneal: float = Field(0.0, ge=0, le=1, description="last share of the budget over which lr falls to 0")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam beta1 of both")
    beta2: float = Field(0.999, gt=0, lt=1, description="Adam beta2 of both")
    eps: float = Field(1e-8, gt=0, description="Adam epsilon of both")
    loss_scale: float = Field(
        100.0, gt=0, description="factor on the generator loss (matters only against eps)"
    )


@torch.no_grad()
def normaliser(x_g: Tensor, f_phi: Tensor) -> Tensor:
    """``omega = 1 / max(mean |x_g - f_phi|, 1e-5)`` per sample ``[B]``, without gradient (official loop)."""
    return 1 / pixel_mean((x_g - f_phi).abs()).clamp(min=1e-5)


def sid_loss(x_g: Tensor, f_phi: Tensor, f_psi: Tensor, alpha: float) -> Tensor:
    """Generator loss per sample ``[B]``: sum over pixels of ``omega delta [(f_phi - x_g) - alpha delta]``."""
    delta = f_phi - f_psi
    return normaliser(x_g, f_phi) * pixel_sum(delta * ((f_phi - x_g) - alpha * delta))


class SiD(Distiller):
    """Three networks of one architecture: frozen teacher, fake score psi, generator theta; 1:1, psi first."""

    name: ClassVar[str] = "sid"
    paper: ClassVar[str] = "zhou2024sid"
    summary: ClassVar[str] = "score identity distillation: one step, data-free"
    needs: ClassVar[Needs] = Needs(data=False)
    Config: ClassVar[type[Settings]] = SiDConfig

    def __init__(self, teacher: Teacher, config: SiDConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        adam: dict[str, Any] = {"betas": (config.beta1, config.beta2), "eps": config.eps}
        self.student = context.network("student", teacher.net)
        self.fake = FakeScore(context.network("fake", teacher.net), self.space.law, self.space.sigma_data)
        self.optimizer = context.optimizer("student", self.student, lr=config.lr, **adam)
        self.fake_optimizer = context.optimizer("fake", self.fake.network, lr=config.lr_fake, **adam)
        self.law = KarrasTimeLaw(self.space.grid, config.t_max)

    def generate(self, cond: Cond, size: int) -> Tensor:
        """``x_g = D_theta(sigma_init z, sigma_init, cond)`` with fresh z."""
        z = self.context.draws().normal(size, *self.space.shape)
        return self.student(z * self.space.grid.start(self.config.sigma_init), self.config.sigma_init, cond)

    def generator_loss(self, x_g: Tensor, cond: Cond) -> Tensor:
        """Batch mean of ``sid_loss`` at one fresh (t, noise) per sample, the same x_t for both networks."""
        draws = self.context.draws()
        sigma = self.law.sample(draws, len(x_g))
        noise = per_sample(sigma, x_g) * draws.normal(*x_g.shape)
        # two separate sums: then equal networks give gradients that cancel bit for bit
        f_phi = self.teacher.denoiser(x_g + noise, sigma, cond)
        f_psi = self.fake.network(x_g + noise, sigma, cond)
        # a sample with nan counts as zero: it leaves the sum and stays in the divisor (official loop)
        kept = ~(x_g + f_phi + f_psi).flatten(1).isnan().any(1)
        return sid_loss(x_g[kept], f_phi[kept], f_psi[kept], self.config.alpha).sum() / len(x_g)

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        with torch.no_grad():
            x_g = self.generate(batch.cond, batch.size)
        errors = pixel_sum(self.fake.loss(x_g, batch.cond, self.context.draws()))
        fake_loss = errors[~errors.isnan()].sum() / len(errors)
        descend(fake_loss, self.fake_optimizer, finite=True)

        fresh = self.context.next_batch()  # theta never reuses psi's labels or noise
        config, progress = self.config, self.context.progress
        set_rate(self.optimizer, config.lr, progress=progress, anneal=config.anneal)
        with frozen(self.fake.network):
            loss = self.generator_loss(self.generate(fresh.cond, fresh.size), fresh.cond)
            descend(loss * config.loss_scale, self.optimizer, finite=True)
        return {"loss": loss.detach(), "fake_loss": errors.detach().nanmean()}  # nan: all samples are

    def students(self) -> dict[int, Network]:
        return {1: self.student}

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> OneStep:
        return OneStep(students, config.sigma_init, space.grid)
