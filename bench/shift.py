"""Covariate shift of a few-step student: where its own sampler goes, against where noised data lie.

The student's generator runs as it is, its networks in a shell that keeps the (sigma, x) of every call. At
each visited level but the first, which is pure noise, these states are compared with forward states
``x0 + sigma noise`` of as many real samples with the same labels. DDIL (Garrepalli et al., 2024) means to
make them agree. Repeat r samples with the protocol's seed + r, as the suite does; the forward states, a
second set of them for the floor, and the directions of projections have named streams of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.images import to_model
from baselines.diffusion.cond import Cond
from baselines.distiller import Generator
from baselines.streams import numpy_generator
from bench.errors import BenchError
from bench.evaluation import DigitsEvaluator
from bench.lab import Lab
from bench.sampling import draw_samples
from bench.shift_report import ShiftLevel
from metrics.frechet import frechet_distance
from metrics.moments import Moments
from metrics.points import sliced_wasserstein

SCALE = 1000.0  # of distances between points, as in the suites
OTHER = 10_000  # added to a repeat's seed: the second, independent set of forward states


@dataclass(frozen=True)
class Recorder:
    """A network that keeps the level and the input of every call in ``visits``."""

    network: Any
    visits: list[tuple[float, Tensor]]

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float64)
        if (level != level.flatten()[0]).any():
            raise ValueError("a sampler called its network at several noise levels at once")
        self.visits.append((float(level.flatten()[0]), x.detach().cpu().clone()))
        return self.network(x, sigma, cond)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Visited:
    """States ``x [N, *shape]`` that a sampler visits at one noise level."""

    sigma: float
    x: Tensor


class StateDistance(Protocol):
    """How far two sets of states of one level lie apart."""

    def view(self, x: Tensor, sigma: float, cond: Cond) -> Any:
        """What is compared of the states ``x [N, *shape]``, worked out once for each set."""

    def apart(self, a: Any, b: Any, seed: int) -> float:
        """The distance of two views; ``seed`` names the directions of projections."""


@dataclass(frozen=True)
class PointStates:
    """Points: sliced Wasserstein-1 distance times 1000 of ``x / sqrt(sigma^2 + sigma_data^2)``.

    That is the scale on which a network sees them; in data units the highest level would decide the mean.
    """

    sigma_data: float

    def view(self, x: Tensor, sigma: float, cond: Cond) -> np.ndarray:
        return np.asarray(x.double().numpy() / math.hypot(sigma, self.sigma_data))

    def apart(self, a: np.ndarray, b: np.ndarray, seed: int) -> float:
        return SCALE * sliced_wasserstein(a, b, numpy_generator(seed, "metric-subset"))


@dataclass(frozen=True)
class TeacherView:
    """Images: Frechet distance in the suite's features of the teacher's estimates ``D(x, sigma, cond)``.

    The feature network was not trained on images under much noise, and rescaled to the range of pixels a
    state at sigma > 1 is noise to it whatever lies below. What a shift does is to ask the expert, and the
    student that learned from it, a question that data do not ask; the answers are clean images, which the
    features are for. Where the teacher's answer hardly depends on the state, at high sigma, a shift does no
    harm.
    """

    denoiser: Callable[[Tensor, Tensor | float, Cond | None], Tensor]
    evaluator: DigitsEvaluator
    device: torch.device

    @torch.no_grad()
    def view(self, x: Tensor, sigma: float, cond: Cond) -> Moments:
        seen = self.denoiser(x.to(self.device), sigma, cond.to(self.device))
        return Moments.of(self.evaluator.extractor.features(self.evaluator.pixels(seen)))

    def apart(self, a: Moments, b: Moments, seed: int) -> float:
        return frechet_distance(a, b)


def state_distance(lab: Lab) -> StateDistance:
    """The distance of a suite."""
    if isinstance(lab.evaluator, DigitsEvaluator):
        return TeacherView(lab.net if lab.exact is None else lab.exact, lab.evaluator, lab.device)
    return PointStates(lab.space.sigma_data)


def visited_states(
    generator: Generator,
    visits: list[tuple[float, Tensor]],
    lab: Lab,
    *,
    seed: int,
    count: int,
    steps: int,
    batch: int,
) -> list[Visited]:
    """States of samples ``0 .. count`` of a block, by call of the sampler: its first is pure noise.

    Args:
        generator: whose networks are ``Recorder``s of ``visits``.

    Raises:
        BenchError: the batches took different paths.
    """
    visits.clear()
    draw_samples(
        generator,
        lab.inputs,
        seed=seed,
        count=count,
        steps=steps,
        batch=batch,
        device=lab.device,
    )
    calls, rest = divmod(len(visits), -(-count // batch))
    paths = [visits[k::calls] for k in range(calls)]
    if rest or any(len({sigma for sigma, _ in path}) != 1 for path in paths):
        raise BenchError(f"a sampler of {steps} steps visits other noise levels in other batches")
    states = [Visited(path[0][0], torch.cat([x for _, x in path])) for path in paths]
    visits.clear()
    return states


def forward_states(lab: Lab, sigma: float, *, count: int, seed: int) -> Tensor:
    """``x0 + sigma noise`` ``[count, *shape]`` in fp32: the suite's data, sample i with the label of i."""
    real = lab.evaluator.anchor("real", count, seed)
    x0 = to_model(real).double() if real.dtype == np.uint8 else torch.from_numpy(real)
    noise = numpy_generator(seed, "rollout", round(sigma * 1e6)).standard_normal(x0.shape)
    return (x0 + sigma * torch.from_numpy(noise)).float()


@dataclass(frozen=True)
class Forward:
    """Forward states of a suite: the same for every student, so that students are compared on equal terms.

    Attributes:
        known: view and floor by (level, seed), worked out when first asked for.
    """

    lab: Lab
    distance: StateDistance
    count: int
    known: dict[tuple[float, int], tuple[Any, float]] = field(default_factory=dict)

    @property
    def cond(self) -> Cond:
        """Conditions of samples ``0 .. count``."""
        return self.lab.evaluator.labels(range(self.count))

    def at(self, sigma: float, seed: int) -> tuple[Any, float]:
        """The view of the states of a level, and how far another set of them lies from it."""
        if (sigma, seed) not in self.known:
            ours, other = (
                self.distance.view(
                    forward_states(self.lab, sigma, count=self.count, seed=one), sigma, self.cond
                )
                for one in (seed, seed + OTHER)
            )
            self.known[sigma, seed] = ours, self.distance.apart(other, ours, seed)
        return self.known[sigma, seed]


def shift_levels(states: Callable[[int], list[Visited]], forward: Forward, seeds: range) -> list[ShiftLevel]:
    """Distance and floor at every level but the first, for each repeat; ``states(seed)`` were visited."""
    repeats = [(seed, states(seed)) for seed in seeds]
    levels = []
    for k in range(1, len(repeats[0][1])):
        sigma, apart, floors = repeats[0][1][k].sigma, [], []
        for seed, visited in repeats:
            view, floor = forward.at(sigma, seed)
            ours = forward.distance.view(visited[k].x, sigma, forward.cond)
            apart.append(forward.distance.apart(ours, view, seed))
            floors.append(floor)
        levels.append(ShiftLevel(sigma=sigma, distance=apart, floor=floors))
    return levels
