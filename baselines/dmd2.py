"""DMD2: improved distribution matching distillation (Yin et al., NeurIPS 2024). Frequent critic updates, GAN.

The generator ``G(x, sigma) = D_theta(x; sigma)`` is trained where it is used: its input at step k is made by
its own first k steps (backward simulation). The steps are the paper's indices, on the Karras grid of EDM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.critics import Critic, Critics
from baselines.diffusion.cond import Cond
from baselines.discriminator import GAN, NoGAN, attach_head
from baselines.distiller import Batch, Context, Needs, Network, Settings, Space, Teacher, descend, frozen
from baselines.distribution_matching import DistributionMatching
from baselines.fake_score import FakeScore, KarrasIndexLaw
from baselines.generators import RenoisingSteps, dmd2_levels
from baselines.rates import set_rate
from baselines.states import STUDENT, StateDistiller


class DMD2Config(Settings):
    """Options of DMD2; the defaults are those of the paper's ImageNet-64 run (it has none on CIFAR-10)."""

    steps: Literal[1, 2, 4, 8] = Field(1, description="generator steps; a training serves this count only")
    gan: Literal["on", "off"] = Field("on", description="adversarial loss on real data, or none")
    critics: Literal["shared", "own"] = Field("shared", description="one of all steps, or one each (ours)")
    ratio: int = Field(5, ge=1, description="critic updates per generator update")
    gan_weight: float = Field(3e-3, ge=0, description="weight of the generator's adversarial loss")
    critic_weight: float = Field(1e-2, ge=0, description="weight of the critic's adversarial loss")
    bin_min: int = Field(20, ge=0, le=999, description="lowest noise bin of the matching loss, of 1000")
    bin_max: int = Field(980, ge=0, le=999, description="highest noise bin of the matching loss")
    lr: float = Field(2e-6, gt=0, description="AdamW rate of generator and critic")
    anneal: float = Field(0.0, ge=0, le=1, description="last share of the budget over which lr falls to 0")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta1")
    beta2: float = Field(0.999, gt=0, lt=1, description="AdamW beta2")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay")
    warmup: int = Field(500, ge=0, description="iterations of linear warm-up")
    clip: float = Field(10.0, gt=0, description="L2 norm at which gradients are cut, per optimiser")


@dataclass(frozen=True)
class State:
    """Where the generator is trained: its input ``x [B, ...]`` at level sigma ``[B]``, that of a step."""

    x: Tensor
    sigma: Tensor
    cond: Cond
    node: Tensor


class DMD2(StateDistiller):
    """Frozen teacher, generator, and a critic (fake score with head) updated ``ratio`` times as often.

    Units per sample and iteration, with e and h the cost of encoder and head: generator 1, fake score 3, and
    6 (e + h) for the critic's GAN pass on generated and real samples; in the generator's turn another 2 for
    its backward, 2 for the matching loss and 2 (e + h) for the GAN; N steps add (N - 1) / 2 on average.
    """

    name: ClassVar[str] = "dmd2"
    paper: ClassVar[str] = "yin2024dmd2"
    summary: ClassVar[str] = "distribution matching with frequent critic updates and a diffusion GAN"
    needs: ClassVar[Needs] = Needs(data=True, features=True)
    Config: ClassVar[type[Settings]] = DMD2Config
    NATIVE: ClassVar[int] = STUDENT

    def __init__(self, teacher: Teacher, config: DMD2Config, context: Context) -> None:
        super().__init__(teacher, config, context)
        self.levels = dmd2_levels(self.space.grid, config.steps)
        self.student = context.network("student", teacher.net)
        count = config.steps if config.critics == "own" else 1
        self.critics = Critics([self.make_critic(str(k or "")) for k in range(count)])
        adam: dict[str, Any] = {"betas": (config.beta1, config.beta2), "weight_decay": config.weight_decay}
        self.optimizer = context.optimizer("student", self.student, lr=config.lr, **adam)
        self.critic_optimizer = context.optimizer("critic", *self.critics.networks, lr=config.lr, **adam)

    def make_critic(self, number: str) -> Critic:
        """A fake score that starts as the teacher, and its head; ``number`` ends the names of their roles."""
        config, law = self.config, KarrasIndexLaw(self.space.grid)
        fake = self.context.network(f"fake{number}", self.teacher.net)
        score = FakeScore(fake, law, self.space.sigma_data)
        nets = self.bounded(self.teacher.denoiser), self.bounded(fake)
        matching = DistributionMatching(*nets, KarrasIndexLaw(law.grid, config.bin_min, config.bin_max))
        if config.gan == "off":
            return Critic(score, matching, NoGAN())
        head = attach_head(fake, self.space, self.context, f"head{number}")
        return Critic(score, matching, GAN(fake, head, law, config.gan_weight, config.critic_weight))

    @classmethod
    def served_nfe(cls, config: Any) -> tuple[int, ...]:
        return (config.steps,)

    @torch.no_grad()
    def draw_state(self, batch: Batch) -> State:
        """Backward simulation up to a step drawn uniformly, the same for the whole batch."""
        draws, shape = self.context.draws(), (batch.size, *self.space.shape)
        stop = int(draws.integers(0, self.config.steps, 1))
        x = draws.normal(*shape) * self.space.grid.start(self.levels[0])
        for k in range(stop):
            x_hat = self.bounded(self.student)(x, self.levels[k], batch.cond)
            x = x_hat + self.levels[k + 1] * draws.normal(*shape)
        return self.state_at(x, torch.full((batch.size,), stop, device=x.device), batch.cond)

    def sampler_levels(self) -> list[float]:
        return self.levels

    def state_at(self, x: Tensor, node: Tensor, cond: Cond) -> State:
        return State(x, torch.tensor(self.levels, device=x.device)[node], cond, node)

    def generate(self, state: State) -> Tensor:
        """Clean prediction ``G(x, sigma)``, which goes into every loss."""
        return self.student(state.x, state.sigma, state.cond)

    def loss(self, state: State) -> Tensor:
        """The generator's loss at a state."""
        where, x_g = (state.node, state.cond), self.generate(state)
        return self.critics.generator_loss(x_g, *where, self.context.draws())

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        config, logs = self.config, {}
        warm: dict[str, int] = {"iteration": self.context.iteration, "warmup": config.warmup}
        set_rate(self.optimizer, config.lr, **warm, progress=self.context.progress, anneal=config.anneal)
        set_rate(self.critic_optimizer, config.lr, **warm)
        turn = self.context.iteration % config.ratio == 0
        state, draws = self.draw_state(batch), self.context.draws()
        where = state.node, state.cond
        with torch.set_grad_enabled(turn):
            x_g = self.generate(state)
        if turn:  # the generator goes first; the critic is then trained on the very same samples
            with frozen(*self.critics.networks):
                loss = self.critics.generator_loss(x_g, *where, draws)
                descend(loss, self.optimizer, clip=config.clip)
            logs["loss"] = loss.detach()
        critic_loss = self.critics.critic_loss(x_g.detach(), *where, batch, draws)
        descend(critic_loss, self.critic_optimizer, clip=config.clip)
        return {**logs, "critic_loss": critic_loss.detach()}

    def students(self) -> dict[int, Network]:
        return {self.config.steps: self.student}

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> RenoisingSteps:
        return RenoisingSteps(students, partial(dmd2_levels, space.grid), grid=space.grid)
