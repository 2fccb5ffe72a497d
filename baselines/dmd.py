"""DMD: distribution matching distillation (Yin et al., CVPR 2024). One step, with a regression loss.

The generator ``G(z) = D_theta(sigma_max z; sigma_max)`` follows the difference of two scores, and is tied to
the teacher's own sampler by regression on (noise, sample) pairs. A pixel distance stands in for LPIPS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.distances import DISTANCES
from baselines.distiller import Batch, Context, Distiller, Needs, Network, Settings, Space, Teacher, descend
from baselines.distribution_matching import DistributionMatching
from baselines.fake_score import FakeScore, KarrasIndexLaw
from baselines.generators import OneStep
from baselines.pairs import Pairs, check_count, sample_pairs
from baselines.rates import set_rate


class DMDConfig(Settings):
    """Options of DMD; the defaults are those of the paper's conditional CIFAR-10 run."""

    pairs: int = Field(
        100_000, ge=1, description="teacher-sampled (noise, sample) pairs, made before training"
    )
    pair_steps: int = Field(18, ge=1, description="Heun steps per pair (2 n - 1 teacher evaluations)")
    lambda_reg: float = Field(0.25, ge=0, description="weight of the regression loss (0.5 without labels)")
    distance: Literal["l2", "huber"] = Field("l2", description="pixel distance of the regression loss")
    bin_min: int = Field(20, ge=0, le=999, description="lowest noise bin of the matching loss, of 1000")
    bin_max: int = Field(
        980, ge=0, le=999, description="highest noise bin of the matching loss (999 is sigma_max)"
    )
    lr: float = Field(5e-5, gt=0, description="AdamW rate of generator and fake score")
    anneal: float = Field(0.0, ge=0, le=1, description="last share of the budget over which lr falls to 0")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta1 of both")
    beta2: float = Field(0.999, gt=0, lt=1, description="AdamW beta2 of both")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay of both")
    warmup: int = Field(
        500, ge=0, description="iterations of linear warm-up, counted after the pairs are made"
    )
    clip: float = Field(
        10.0, gt=0, description="L2 norm at which gradients are cut, each optimiser for itself"
    )


class DMD(Distiller):
    """Frozen teacher, fake score and generator; the last two are updated 1:1, the generator first.

    The first iterations make one batch of pairs each, until there are enough; training follows. Units per
    sample: ``2 pair_steps - 1`` while pairs are made, then 11: two generator passes with gradients 6,
    teacher 1, fake score 1 + 3.
    """

    name: ClassVar[str] = "dmd"
    paper: ClassVar[str] = "yin2024dmd"
    summary: ClassVar[str] = "distribution matching with regression on teacher-sampled pairs: one step"
    needs: ClassVar[Needs] = Needs(data=False, pairs=True)
    Config: ClassVar[type[Settings]] = DMDConfig

    def __init__(self, teacher: Teacher, config: DMDConfig, context: Context) -> None:
        super().__init__(teacher, config, context)
        grid = self.space.grid
        adam: dict[str, Any] = {
            "betas": (config.beta1, config.beta2),
            "weight_decay": config.weight_decay,
            "lr": config.lr,
        }
        self.student = context.network("student", teacher.net)
        self.fake = FakeScore(
            context.network("fake", teacher.net), KarrasIndexLaw(grid), self.space.sigma_data
        )
        law = KarrasIndexLaw(grid, config.bin_min, config.bin_max)
        self.matching = DistributionMatching(teacher.denoiser, self.fake.network, law)
        self.distance = DISTANCES[config.distance]
        self.optimizer = context.optimizer("student", self.student, **adam)
        self.fake_optimizer = context.optimizer("fake", self.fake.network, **adam)
        self.chunks: list[Pairs] = []
        self.making = math.ceil(config.pairs / context.batch_size)  # iterations that make pairs

    def generate(self, z: Tensor, cond: Cond) -> Tensor:
        """``G(z) = D_theta(sigma_max z; sigma_max, cond)``."""
        return self.student(z * self.space.grid.start(self.space.sigma_max), self.space.sigma_max, cond)

    def made(self) -> int:
        """Number of pairs there are."""
        return sum(map(len, self.chunks))

    def make_pairs(self, batch: Batch) -> dict[str, float | Tensor]:
        """Sample one batch of pairs, with the batch's conditions.

        Raises:
            ValueError: at this rate the pairs would use up the whole budget.
        """
        z = self.context.draws().normal(batch.size, *self.space.shape)
        before = self.context.progress
        pairs = sample_pairs(self.teacher.denoiser, z, batch.cond, self.space.grid, self.config.pair_steps)
        self.chunks.append(pairs)
        share = (self.context.progress - before) * self.config.pairs / batch.size
        if share >= 1:
            raise ValueError(
                f"dmd: {self.config.pairs} pairs of {self.config.pair_steps} Heun steps cost {share:.1f} "
                "times the training budget; lower the option 'pairs' or 'pair_steps', or raise the budget"
            )
        return {"pairs": float(self.made())}

    def regression_loss(self) -> Tensor:
        """Mean distance between ``G(z_ref)`` and ``y_ref`` on a batch of pairs, drawn with replacement."""
        if len(self.chunks) > 1:
            self.chunks = [Pairs.join(self.chunks)]
        index = self.context.draws().integers(0, self.config.pairs, self.context.batch_size)
        pair = self.chunks[0][index]
        return self.distance(self.generate(pair.z, pair.cond), pair.y).mean()

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        if self.made() < self.config.pairs:
            return self.make_pairs(batch)
        config, draws = self.config, self.context.draws()
        trained = self.context.iteration - self.making
        warm: dict[str, int] = {"iteration": trained, "warmup": config.warmup}
        set_rate(self.optimizer, config.lr, **warm, progress=self.context.progress, anneal=config.anneal)
        set_rate(self.fake_optimizer, config.lr, **warm)

        x_g = self.generate(draws.normal(batch.size, *self.space.shape), batch.cond)
        matching = self.matching.loss(x_g, batch.cond, draws)
        regression = self.regression_loss()
        descend(matching + config.lambda_reg * regression, self.optimizer, clip=config.clip)

        fake_loss = self.fake.loss(x_g, batch.cond, draws).mean()  # on the very same samples
        descend(fake_loss, self.fake_optimizer, clip=config.clip)
        return {"loss": matching.detach(), "regression": regression.detach(), "fake_loss": fake_loss.detach()}

    def students(self) -> dict[int, Network]:
        return {1: self.student}

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> OneStep:
        return OneStep(students, space.sigma_max, space.grid)

    def extra_state(self) -> dict[str, Any]:
        return {"pairs": Pairs.join(self.chunks).state()} if self.chunks else {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.chunks = [Pairs.from_state(state["pairs"], self.context.device)] if state else []
        check_count(self.made(), min(self.context.iteration, self.making) * self.context.batch_size)
