"""Closed-form denoisers and generators, on which the methods' losses are known, and a rig to run them.

All of them work in fp64, have differentiable scalar parameters and treat pixels independently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling, per_sample
from baselines.distiller import Space, Teacher
from bench.context import Draw, RunContext
from bench.meter import Meter, Metered


def scalar(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


class Oracle(Denoiser):
    """A denoiser written down as a formula; ``raw`` inverts the EDM scaling."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), EDMScaling(0.5))

    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        level = per_sample(sigma, x)
        return (self(x, sigma, cond) - self.scaling.c_skip(level) * x) / self.scaling.c_out(level)


class Gaussian(Oracle):
    """Posterior mean for data N(mean, std^2): ``mean + k (x - mean)``, ``k = std^2 / (std^2 + sigma^2)``."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = scalar(mean), scalar(std)

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        gain = self.std**2 / (self.std**2 + per_sample(sigma, x) ** 2)
        return (self.mean + gain * (x - self.mean)).to(x.dtype)


class Affine(Oracle):
    """``mean + gain (x - mean)`` with one gain for every sigma."""

    def __init__(self, mean: float, gain: float) -> None:
        super().__init__()
        self.mean, self.gain = scalar(mean), scalar(gain)

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return (self.mean + self.gain * (x - self.mean)).to(x.dtype)


class AffineLadder(Oracle):
    """``mean + gain_i (x - mean)`` with a gain for each listed noise level; others take the nearest gain."""

    def __init__(self, mean: float, levels: Tensor) -> None:
        super().__init__()
        self.levels: Tensor
        self.register_buffer("levels", levels.double())
        self.mean, self.gains = scalar(mean), nn.Parameter(torch.zeros(len(levels), dtype=torch.float64))

    def index(self, sigma: Tensor | float) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1)
        return (level - self.levels).abs().argmin(1)

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        gain = per_sample(self.gains[self.index(sigma)].expand(len(x)), x)
        return (self.mean + gain * (x - self.mean)).to(x.dtype)


class Push(Oracle):
    """The generator ``x = mean + std z``, reached as a denoiser of ``x = sigma z`` at any sigma."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = scalar(mean), scalar(std)

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return (self.mean + self.std * x / per_sample(sigma, x)).to(x.dtype)


class Formula(Oracle):
    """Any ``D(x, sigma)`` given as a function of two broadcast tensors."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return self.function(x, per_sample(sigma, x))


class Detached(Oracle):
    """A denoiser through whose input no gradient flows."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return self.inner(x.detach(), sigma, cond)


class Spy(Oracle):
    """A denoiser that keeps what it was asked: noisy inputs, levels and conditions, in order."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner = inner
        self.xs: list[Tensor] = []
        self.sigmas: list[Tensor] = []
        self.conds: list[Cond | None] = []

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        self.xs.append(x.detach().clone())
        self.sigmas.append(torch.as_tensor(sigma).detach().clone())
        self.conds.append(cond)
        return self.inner(x, sigma, cond)


@dataclass(frozen=True)
class FixedLaw:
    """The same noise levels at every draw (cycled over the batch)."""

    levels: Sequence[float]

    def sample(self, draws: Any, count: int) -> Tensor:
        levels = torch.tensor(list(self.levels), dtype=torch.float64)
        return levels.repeat(-(-count // len(levels)))[:count]


@dataclass
class ScriptedDraws:
    """Draws read off a list, so that a test chooses the noise; shapes must fit."""

    script: list[Tensor] = field(default_factory=list)

    def _next(self, *shape: int) -> Tensor:
        assert self.script, f"more draws than scripted (asked for {shape})"
        values = self.script.pop(0)
        assert tuple(values.shape) == shape, f"scripted {tuple(values.shape)}, asked for {shape}"
        return values

    def normal(self, *shape: int) -> Tensor:
        return self._next(*shape)

    def uniform(self, count: int) -> Tensor:
        return self._next(count)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        values = self._next(count)
        assert bool(((values >= low) & (values < high)).all()), f"scripted integers leave [{low}, {high})"
        return values


class OracleContext(RunContext):
    """The product's context; draws come from ``script`` while it lasts, else from the named streams."""

    script: ScriptedDraws | None = None

    def draws(self, stream: str = "train-noise") -> Any:
        return super().draws(stream) if self.script is None else self.script

    def play(self, *values: Tensor) -> None:
        """Use these tensors as the next draws."""
        self.script = ScriptedDraws(list(values))


def zeros_draw(shape: tuple[int, ...]) -> Draw:
    """A data iterator of zeros without labels."""
    return lambda number, size: (torch.zeros(size, *shape), Cond())


@dataclass
class Rig:
    """A teacher and a context around it, as the runner would make them."""

    teacher: Teacher
    context: OracleContext
    meter: Meter


def rig(
    net: Denoiser,
    *,
    exact: Denoiser | None = None,
    shape: tuple[int, ...] = (1,),
    draw: Draw | None = None,
    n_classes: int = 0,
    batch_size: int = 4,
    budget: float = 1e9,
    seed: int = 0,
    data_free: bool = False,
) -> Rig:
    """Meter ``net`` (and ``exact``) as a frozen teacher of unit cost and give it a context."""
    meter = Meter()
    shells = [
        None if module is None else Metered(module.eval().requires_grad_(False), "teacher", meter, 1.0)
        for module in (net, exact)
    ]
    assert shells[0] is not None
    space = Space(shape, n_classes)
    context = OracleContext(
        space,
        draw or zeros_draw(shape),
        meter,
        budget=budget,
        batch_size=batch_size,
        seed=seed,
        data_free=data_free,
    )
    return Rig(Teacher(space, shells[0], shells[1]), context, meter)


# three Gauss-Hermite nodes with weights 1/6, 2/3, 1/6, repeated until all weights are equal
HERMITE_NODES = torch.tensor([-(3**0.5), 0, 0, 0, 0, 3**0.5], dtype=torch.float64)


def hermite_pair() -> tuple[Tensor, Tensor]:
    """Two independent N(0, 1) as 36 equally likely pairs, each ``[36, 1]``; exact to degree 5 in either."""
    first, second = torch.meshgrid(HERMITE_NODES, HERMITE_NODES, indexing="ij")
    return first.reshape(-1, 1), second.reshape(-1, 1)


def normal_quantiles(count: int) -> Tensor:
    """``count`` equally likely nodes of N(0, 1), scaled to unit variance (for integrands with kinks)."""
    nodes = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    return nodes / nodes.square().mean().sqrt()


def gauss_hermite(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of N(0, 1), ``count`` of each."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
