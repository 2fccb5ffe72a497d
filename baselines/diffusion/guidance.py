"""Classifier-free guidance: a guided denoiser is a denoiser, and what its strength is drawn from.

Convention of LCM: ``D_w = (1 + w) D(x; c) - w D(x; none)``; w = 0 is unguided, a "guidance scale" is 1 + w.
Source: Ho and Salimans (2022).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, Scaling, per_sample

if TYPE_CHECKING:
    from baselines.distiller import Space


class GuidedDenoiser(Denoiser):
    """The guided estimate from one pass over a doubled batch, which counts as two evaluations.

    Args:
        net: denoiser whose network, scaling and precision are shared; its network must know samples without a
            condition.
        w: strength for conditions that carry none.
        empty: one sample of no caption, encoded, for networks that are conditioned on text.
    """

    evaluations = 2

    empty_text: Tensor | None
    empty_pooled: Tensor | None

    def __init__(self, net: Denoiser, w: float | None = None, empty: Cond | None = None) -> None:
        super().__init__(net.model, net.scaling, net.body)
        self.w = w
        nothing = empty or Cond()
        self.register_buffer("empty_text", nothing.text, persistent=False)
        self.register_buffer("empty_pooled", nothing.pooled, persistent=False)

    @property
    def empty(self) -> Cond:
        """One sample of no caption, on the device of the network."""
        return Cond(text=self.empty_text, pooled=self.empty_pooled)

    def rescaled(self, scaling: Scaling) -> GuidedDenoiser:
        """The same network and guidance under another scaling."""
        return GuidedDenoiser(Denoiser(self.model, scaling, self.body), self.w, self.empty)

    def strength(self, cond: Cond, x: Tensor) -> Tensor:
        """w of every sample, ready to broadcast over ``x [B, ...]``.

        Raises:
            ValueError: neither the condition nor the denoiser has one.
        """
        w = self.w if cond.w is None else cond.w
        if w is None:
            raise ValueError("a guided denoiser was given no strength: set w, or give Cond(w=...)")
        return per_sample(w, x)

    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """``(1 + w) F(x; c) - w F(x; none)``: scalings are affine in F, so estimates combine alike."""
        cond = cond or Cond()
        w = self.strength(cond, x)
        bare = replace(cond, w=None)  # the teacher's strength is no input of its network
        level = per_sample(sigma, x).flatten()
        both = Cond.join([bare, bare.null(self.empty)])
        conditional, free = super().raw(torch.cat([x, x]), level.repeat(2), both).chunk(2)
        return (1 + w) * conditional - w * free


class Strength(Protocol):
    """Which strengths students learn; ``FixedStrength`` documents the calls."""

    def teach(self, net: Denoiser, empty: Cond | None) -> GuidedDenoiser | None: ...
    def ask(self, cond: Cond, generator: torch.Generator) -> Cond: ...


@dataclass(frozen=True)
class FixedStrength:
    """One strength for every sample; students do not take it as an input."""

    w: float

    def teach(self, net: Denoiser, empty: Cond | None) -> GuidedDenoiser | None:
        """The guided teacher; None at strength 0, where it is the network itself."""
        return GuidedDenoiser(net, self.w, empty) if self.w else None

    def ask(self, cond: Cond, generator: torch.Generator) -> Cond:
        """The condition of a training batch: as it is."""
        return cond


@dataclass(frozen=True)
class UniformStrength:
    """A strength for each sample, uniform in ``low .. high`` and an input of the student (LCM: 5 to 15)."""

    low: float
    high: float

    def teach(self, net: Denoiser, empty: Cond | None) -> GuidedDenoiser | None:
        """A guided teacher that takes its strength from the condition."""
        return GuidedDenoiser(net, None, empty)

    def ask(self, cond: Cond, generator: torch.Generator) -> Cond:
        """The condition with a strength drawn for each of its samples."""
        values = next(v for v in (cond.label, cond.text) if v is not None)
        u = torch.rand(len(values), generator=generator, device=generator.device)
        return replace(cond, w=(self.low + (self.high - self.low) * u).to(values.device))


def guided(
    net: Denoiser, space: Space, strength: Strength, empty: Cond | None = None
) -> GuidedDenoiser | None:
    """The guided teacher of a network; None for strength 0.

    Raises:
        ValueError: the network does not know samples without a condition.
    """
    teacher = strength.teach(net, empty)
    if teacher is not None and not space.unconditional:
        raise ValueError(
            f"{strength}: guidance needs a network that was also trained without conditions, and this "
            "one was not; take strength 0 (guidance scale 1)"
        )
    return teacher
