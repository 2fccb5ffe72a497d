"""Thresholds of clean estimates: the data's box, static or dynamic, or none (reflected diffusion).

Projecting x0_hat at every step discretises a reflected SDE (Lou and Ermon, 2023); dynamic: Imagen.
Samplers that go on from (x, x0_hat) recompute the noise from the projected estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample


class Box(Protocol):
    """What keeps clean estimates in the range of the data."""

    def wrap(self, network: Any) -> Any:
        """The same network with restrained estimates."""


@dataclass(frozen=True)
class Unbounded:
    """No threshold."""

    def wrap(self, network: Any) -> Any:
        return network


@dataclass(frozen=True)
class StaticBox:
    """Every element clipped to [-bound, bound]."""

    bound: float

    def __call__(self, x0: Tensor) -> Tensor:
        """Projection of ``x0 [B, ...]``."""
        return x0.clamp(-self.bound, self.bound)

    def wrap(self, network: Any) -> Any:
        return Reflected(network, self)


@dataclass(frozen=True)
class DynamicBox:
    """Clipped at a quantile q of the sample's own magnitudes, q >= bound, and scaled back into the box."""

    bound: float
    quantile: float

    def __call__(self, x0: Tensor) -> Tensor:
        """``clip(x0, -q, q) bound / q`` for ``x0 [B, ...]``, q per sample."""
        q = x0.abs().flatten(1).quantile(self.quantile, dim=1).clamp(min=self.bound)
        limit = per_sample(q, x0)
        return x0.clamp(-limit, limit) * (self.bound / limit)

    def wrap(self, network: Any) -> Any:
        return Reflected(network, self)


def named_box(config: Any, *, latent: bool) -> Box:
    """The threshold that the options ``reflect``, ``bound`` and ``quantile`` name.

    Raises:
        ValueError: a box that nobody set, in a space of latents, which has none by nature.
    """
    if latent and config.reflect != "off" and "bound" not in config.model_fields_set:
        raise ValueError(
            f"option reflect: found {config.reflect!r} without a bound, among latents, which have no box; "
            "give bound in their units or take reflect=off"
        )
    static, dynamic = StaticBox(config.bound), DynamicBox(config.bound, config.quantile)
    boxes: dict[str, Box] = {"static": static, "dynamic": dynamic, "off": Unbounded()}
    return boxes[config.reflect]


@dataclass(frozen=True)
class Reflected:
    """A network (metered or plain) whose estimates pass a box; the network inside stays as it is."""

    network: Any
    box: StaticBox | DynamicBox

    @property
    def plain(self) -> Any:
        """The module inside, unrestrained: what students copy."""
        return getattr(self.network, "plain", self.network)

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return self.box(self.network(x, sigma, cond))

    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Raw output that would give the restrained estimate."""
        level, scaling = per_sample(sigma, x), self.plain.scaling
        return (self(x, sigma, cond) - scaling.c_skip(level) * x) / scaling.c_out(level)

    def features(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Encoder features of the network inside."""
        return self.network.features(x, sigma, cond)
