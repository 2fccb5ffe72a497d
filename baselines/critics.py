"""What DMD2's generator is trained against: a fake score and an adversary on its encoder.

One such critic for the outputs of all steps knows their mixture only: the generator is at rest as soon as the
mixture has the data's law, whatever the last step makes. One critic for each step has no such rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.discriminator import Adversary
from baselines.distiller import Batch, Draws
from baselines.distribution_matching import DistributionMatching
from baselines.fake_score import FakeScore


@dataclass(frozen=True)
class Critic:
    """A fake score, the matching loss through it, and an adversary."""

    fake: FakeScore
    matching: DistributionMatching
    gan: Adversary

    @property
    def networks(self) -> list[Any]:
        """What its own loss trains."""
        return [self.fake.network, *self.gan.networks]

    def generator_loss(self, x_g: Tensor, cond: Cond, draws: Draws) -> Tensor:
        """Distribution matching plus the weighted adversarial loss."""
        return self.matching.loss(x_g, cond, draws) + self.gan.generator_loss(x_g, cond, draws)

    def critic_loss(self, x_g: Tensor, cond: Cond, real: Batch, draws: Draws) -> Tensor:
        """Fake score on generated samples plus the weighted adversarial loss against real ones."""
        return self.fake.loss(x_g, cond, draws).mean() + self.gan.critic_loss(x_g, cond, real, draws)


@dataclass(frozen=True)
class Critics:
    """One critic for the outputs of all steps, or one for those of each; losses are means over the batch."""

    each: Sequence[Critic]

    @property
    def networks(self) -> list[Any]:
        """What the critics' losses train."""
        return [network for critic in self.each for network in critic.networks]

    def generator_loss(self, x_g: Tensor, node: Tensor, cond: Cond, draws: Draws) -> Tensor:
        """The generator's loss on outputs ``x_g [B, ...]`` of the sampler's steps ``node [B]``."""
        terms = [
            share * critic.generator_loss(x_g[rows], cond[rows], draws)
            for critic, rows, share in self.parts(node)
        ]
        return sum(terms[1:], terms[0])

    def critic_loss(self, x_g: Tensor, node: Tensor, cond: Cond, real: Batch, draws: Draws) -> Tensor:
        """The critics' loss on such outputs, each against the real samples of the same rows."""
        terms = []
        for critic, rows, share in self.parts(node):
            x = x_g[rows]
            data = Batch(real.cond[rows], len(x), None if real.data is None else real.data[rows])
            terms.append(share * critic.critic_loss(x, cond[rows], data, draws))
        return sum(terms[1:], terms[0])

    def parts(self, node: Tensor) -> Iterator[tuple[Critic, slice | Tensor, float]]:
        """Which critic judges which rows, and their share of the batch."""
        if len(self.each) == 1:
            yield self.each[0], slice(None), 1.0
            return
        for k in node.unique().tolist():
            rows = (node == k).nonzero().flatten()
            yield self.each[k], rows, len(rows) / len(node)
