"""LCM under guidance and on timesteps: closed forms of guided Gaussians, laws of its sampler's states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from guided_gaussians import conditional, guided_teacher, labelled
from impulses import Impulses, moments
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.diffusion.guidance import GuidedDenoiser
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.samplers import euler_step, heun
from baselines.diffusion.vp import EpsilonScaling, TimestepGrid, VPSchedule, scaled_linear
from baselines.distiller import Space
from baselines.generators import RenoisingSteps
from baselines.lcm import LCM, LCMConfig, State, serving_levels

MEANS, S, EPS, T = [0.4, -0.2], 0.5, 0.002, 80.0
STABLE = TimestepGrid(EpsilonScaling(VPSchedule.of_rates(scaled_linear(0.00085, 0.012, 1000))))


def g(t: Any) -> Any:
    return (S**2 + t**2) ** 0.5


class FlowMap:
    """The exact consistency function of N(mean, s^2); ``end`` is the level at which its trajectories end."""

    def __init__(self, mean: float | Tensor, end: float = EPS) -> None:
        self.mean, self.end = mean, end
        self.xs: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        self.xs.append(x)
        return self.mean + (x - self.mean) * g(self.end) / g(per_sample(sigma, x))


def level(value: float, count: int) -> Tensor:
    return torch.full((count,), value, dtype=torch.float64)


def target(w: float | None, state: State) -> Tensor:
    """LCM's target for a guided teacher; its target network is the exact map of the guided Gaussian."""
    teacher, context = guided_teacher(conditional(MEANS, [S, S]), w)
    method = LCM(teacher, LCMConfig(), context)
    strength = torch.as_tensor(w if state.cond.w is None else state.cond.w, dtype=torch.float64)
    mean = (1 + strength) * MEANS[0] - strength * MEANS[1]
    method.follower = FlowMap(mean.reshape(-1, 1))  # type: ignore[assignment]
    return method.target(state)


# properties: each raises AssertionError when the method is wrong


def check_guided_target() -> None:
    """Equal s: one guided Euler step from t misses the guided Gaussian's map by the known amount."""
    x, t, h = torch.tensor([[1.7], [-2.5]], dtype=torch.float64), 2.0, 0.25
    for w in (0.0, 1.5, 3.0):
        mean = (1 + w) * MEANS[0] - w * MEANS[1]
        found = target(w, State(x, level(t, 2), level(t - h, 2), labelled(2)))
        rho = (S**2 + t * (t - h)) / g(t) ** 2
        exact = mean + (x - mean) * g(EPS) / g(t)
        missed = (x - mean) * g(EPS) / g(t - h) * (g(t - h) / g(t) - rho)
        torch.testing.assert_close(exact - found, missed, rtol=1e-9, atol=1e-13)


def check_every_sample_has_its_own_strength() -> None:
    """Strengths in the condition: each row is as with that strength alone; w = 0 is the conditional model."""
    x, strengths = torch.tensor([[1.7], [-2.5], [0.1]], dtype=torch.float64), [0.0, 1.0, 14.0]
    found = target(None, State(x, level(2.0, 3), level(1.5, 3), labelled(3, w=strengths)))
    for row, w in enumerate(strengths):
        alone = State(x[row : row + 1], level(2.0, 1), level(1.5, 1), labelled(1))
        torch.testing.assert_close(found[row : row + 1], target(w, alone), rtol=1e-13, atol=0)
    net = conditional(MEANS, [S, S])
    sigma = level(2.0, 3)
    assert torch.equal(GuidedDenoiser(net, 0.0)(x, sigma, labelled(3)), net(x, sigma, labelled(3)))


def check_guided_flow_of_unequal_spreads() -> None:
    """Centred, s_c = .4, s_0 = .9: from 3 to .1 the guided flow multiplies by .0142525 (w = 3)."""
    net = conditional([0.0, 0.0], [0.4, 0.9])
    for w, published in ((3.0, 0.0142525), (4.0, 0.0067157)):
        x, nodes = torch.ones(1, 1, dtype=torch.float64), KarrasGrid(0.1, 3.0).nodes(100)
        found = heun(GuidedDenoiser(net, w), x, nodes, labelled(1)).item()
        ratio = [(s**2 + 0.1**2) / (s**2 + 3.0**2) for s in (0.4, 0.9)]
        closed = ratio[0] ** ((1 + w) / 2) * ratio[1] ** (-w / 2)
        assert closed == pytest.approx(published, abs=6e-8)
        assert found == pytest.approx(closed, rel=4e-3)  # of the solver


def check_increments() -> None:
    """A guided jump adds ``(1 + w)`` conditional increments and takes w unconditional ones away."""
    net, w = conditional([0.4, -0.2], [0.4, 0.9]), 3.0
    x, cond = torch.tensor([[1.7], [-2.5]], dtype=torch.float64), labelled(2)
    between = (level(3.0, 2), level(2.2, 2))
    jumps = [euler_step(net, x, *between, c) - x for c in (cond, cond.null())]
    found = euler_step(GuidedDenoiser(net, w), x, *between, cond) - x
    torch.testing.assert_close(found, (1 + w) * jumps[0] - w * jumps[1], rtol=1e-13, atol=1e-15)


def sampled(space: Space, student: FlowMap, steps: int, noise: Impulses) -> Tensor:
    sampler = LCM.generator({steps: student}, LCMConfig(), space)
    return sampler.sample(noise, Cond(), steps)  # type: ignore[arg-type]


def check_renoised_states() -> None:
    """Started at the marginal, every state that the student is asked at is N(mu, s^2 + tau^2)."""
    mu = 0.3
    for steps in (1, 2, 4, 8):
        student = FlowMap(mu)
        sampled(Space((1,)), student, steps, Impulses(steps, mu / T, g(T) / T))
        levels = serving_levels(KarrasGrid(), LCMConfig(), steps)
        assert len(student.xs) == steps
        for x, tau in zip(student.xs, levels, strict=True):
            mean, variance = moments(x)
            assert mean == pytest.approx(mu, rel=1e-9)
            assert variance == pytest.approx(S**2 + tau**2, rel=1e-12)


def check_timestep_states() -> None:
    """On timesteps ``z = alpha X`` is N(0, I) at first, then has variance ``alpha^2 Var(x0) + sigma^2``."""
    space = Space((1,), process=STABLE, sigma_min=STABLE.sigma_min, sigma_max=STABLE.sigma_max)
    student = FlowMap(0.0, end=0.0)
    x0 = sampled(space, student, 4, Impulses(4))
    levels = serving_levels(STABLE, LCMConfig(), 4)
    variance = None
    for x, tau in zip(student.xs, levels, strict=True):
        alpha = 1 / math.sqrt(1 + tau**2)
        expected = 1.0 if variance is None else alpha**2 * variance + (alpha * tau) ** 2
        assert moments(alpha * x)[1] == pytest.approx(expected, rel=1e-12)
        variance = moments(x)[1] * S**2 / (S**2 + tau**2)  # of the estimate there
    assert moments(x0)[1] == pytest.approx(variance, rel=1e-12)


def check_one_step_on_timesteps() -> None:
    """From timestep 999 to data without noise the exact map multiplies z by .500876 (s = .5)."""
    space = Space((1,), process=STABLE, sigma_min=STABLE.sigma_min, sigma_max=STABLE.sigma_max)
    x0 = sampled(space, FlowMap(0.0, end=0.0), 1, Impulses(1))
    assert x0[1].item() == pytest.approx(0.500876, abs=6e-7)


CHECKS = [
    check_guided_target,
    check_every_sample_has_its_own_strength,
    check_guided_flow_of_unequal_spreads,
    check_increments,
    check_renoised_states,
    check_timestep_states,
    check_one_step_on_timesteps,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_property(check: Callable[[], None]) -> None:
    check()


# mutants: plausible mistakes, each of which the named property must notice


@torch.no_grad()
def target_of_the_conditional_branch(self: Any, state: State) -> Any:
    x = self.solve(self.teacher.net, state.x, state.upper, state.lower, state.cond)
    return self.follower(x, state.lower, state.cond)


def usual_scale(self: Any, cond: Cond, x: Tensor) -> Tensor:
    return ORIGINAL(self, cond, x) + 1


def scale_instead_of_strength(self: Any, cond: Cond, x: Tensor) -> Tensor:
    return ORIGINAL(self, cond, x) - 1


def first_samples_strength(self: Any, cond: Cond, x: Tensor) -> Tensor:
    return ORIGINAL(self, cond, x)[:1]


def renoised_at_the_last_level(self: Any, noise: Any, cond: Cond, nfe: int) -> Any:
    student, levels = self.students[nfe], self.levels(nfe)
    x_hat = student(noise.initial() * self.grid.start(levels[0]), levels[0], cond)
    for step, sigma in enumerate(levels[1:], start=1):
        x_hat = student(x_hat + levels[step - 1] * noise.at(step), sigma, cond)
    return x_hat


def without_floor(cls: Any, students: Any, config: LCMConfig, space: Space) -> RenoisingSteps:
    return RenoisingSteps(students, lambda n: serving_levels(space.grid, config, n), 0.0, space.grid)


ORIGINAL = GuidedDenoiser.strength
MUTANTS = [
    (LCM, "target", target_of_the_conditional_branch, check_guided_target),
    (GuidedDenoiser, "strength", usual_scale, check_guided_target),
    (GuidedDenoiser, "strength", usual_scale, check_guided_flow_of_unequal_spreads),
    (GuidedDenoiser, "strength", scale_instead_of_strength, check_increments),
    (GuidedDenoiser, "strength", first_samples_strength, check_every_sample_has_its_own_strength),
    (RenoisingSteps, "sample", renoised_at_the_last_level, check_renoised_states),
    (RenoisingSteps, "sample", renoised_at_the_last_level, check_timestep_states),
    (LCM, "generator", classmethod(without_floor), check_renoised_states),
    (TimestepGrid, "start", lambda self, sigma: sigma, check_one_step_on_timesteps),
    (TimestepGrid, "start", lambda self, sigma: sigma, check_timestep_states),
    (TimestepGrid, "floor", property(lambda self: self.sigma_min), check_timestep_states),
]


@pytest.mark.parametrize(("owner", "name", "replacement", "check"), MUTANTS)
def test_mutants_are_noticed(
    owner: Any, name: str, replacement: Any, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(AssertionError):
        check()
