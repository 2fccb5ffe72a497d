"""Moment matching against its closed forms and the conduct of its step; and mutants, which must be caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mm_law_properties
import mm_phi_properties
import mm_properties
import mm_step_properties
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from baselines import auxiliary, generators, moment_matching
from baselines.auxiliary import Auxiliary, InfinitesimalStep
from baselines.diffusion import posterior as posterior_module
from baselines.diffusion.cond import Cond
from baselines.diffusion.posterior import StepPairs, Transition, posterior
from baselines.distiller import Batch
from baselines.moment_matching import Alternating, Instant, MMConfig, MomentMatching

SUITES = (mm_law_properties, mm_phi_properties, mm_properties, mm_step_properties)
PROPERTIES = [check for suite in SUITES for check in suite.PROPERTIES]
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_moment_matching(check: Callable[[], None]) -> None:
    check()


def test_serves_one_step_count() -> None:
    assert MomentMatching.served_nfe(MMConfig(steps=4)) == (4,)
    made = mm_step_properties.small_rig()
    method = mm_step_properties.method_on(made, steps=4)
    assert list(method.students()) == [4]


def test_config_refuses_nonsense() -> None:
    for wrong in ({"steps": 3}, {"variant": "both"}, {"lr": 0}, {"real_batches": -1}):
        with pytest.raises(ValidationError):
            MMConfig(**wrong)


# mutants: each is a plausible mistake, with a property that must fail under it


def fresh_noise(patch: Patch) -> None:
    def noised(z: Tensor, x: Tensor, sigma_t: Tensor, sigma_s: Tensor, noise: Tensor) -> Tensor:
        return x + posterior_module.per_sample(sigma_s, x) * noise

    patch.setattr(posterior_module, "posterior", noised)


def leaking_state(patch: Patch) -> None:
    def land(self: Transition, x: Tensor) -> tuple[Tensor, Tensor, Cond]:
        return posterior(self.z, x, self.sigma_t, self.sigma_s, self.noise), self.sigma_s, self.cond

    patch.setattr(Transition, "land", land)
    patch.setattr(Auxiliary, "difference", lambda self, *at: self.evaluate(*at)[1])


def no_pull(patch: Patch) -> None:
    def error(self: Auxiliary, x_hat: Tensor, *at: Any) -> Tensor:
        return (x_hat - self.network(*at)) ** 2

    patch.setattr(Auxiliary, "error", error)


def direct_subtraction(patch: Patch) -> None:
    patch.setattr(Auxiliary, "difference", lambda self, *at: (self.network(*at) - self.theta(*at)).detach())


def wrong_sign(patch: Patch) -> None:
    follow = InfinitesimalStep.follow

    def flipped(self: InfinitesimalStep, loss: Tensor) -> None:
        follow(self, -loss)

    patch.setattr(InfinitesimalStep, "follow", flipped)


def one_batch_for_both(patch: Patch) -> None:
    def update(self: Instant, batch: Batch) -> dict[str, float | Tensor]:
        self.phi.follow(self.method.error(batch, lambda state: state.estimate(self.method.student), self.phi))
        return {}

    patch.setattr(Instant, "update", update)


def trained_theta(patch: Patch) -> None:
    follow = InfinitesimalStep.follow

    def stepped(self: InfinitesimalStep, loss: Tensor) -> None:
        follow(self, loss)
        with torch.no_grad():
            for name, p in self.weights.items():
                p.add_(self.nu[name], alpha=1e-3)

    patch.setattr(InfinitesimalStep, "follow", stepped)


def student_first(patch: Patch) -> None:
    update = Alternating.update

    def odd(self: Alternating, batch: Batch) -> dict[str, float | Tensor]:
        self.method.context.iteration += 1
        try:
            return update(self, batch)
        finally:
            self.method.context.iteration -= 1

    patch.setattr(Alternating, "update", odd)


def unscaled_gap(patch: Patch) -> None:
    def draw(self: StepPairs, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        s = u.double()
        return self.grid(1 - s), self.grid(1 - (s + v.double()).clamp(max=1))

    patch.setattr(StepPairs, "__call__", draw)


def renoising_sampler(patch: Patch) -> None:
    def noised(z: Tensor, x: Tensor, sigma_t: Tensor, sigma_s: Tensor, noise: Tensor) -> Tensor:
        return x + float(sigma_s) * noise

    patch.setattr(generators, "posterior", noised)


def unit_weight(patch: Patch) -> None:
    patch.setattr(moment_matching, "edm_weight", lambda sigma, sigma_data: torch.ones_like(sigma))


def metric_without_root(patch: Patch) -> None:
    def follow(self: InfinitesimalStep, loss: Tensor) -> None:
        grads = self.gradient(loss)
        if self.batches:
            grads = {name: grad / (self.squares[name] + 1e-8) for name, grad in grads.items()}
        self.nu = {name: -grad for name, grad in grads.items()}

    patch.setattr(InfinitesimalStep, "follow", follow)


def metric_forgotten(patch: Patch) -> None:
    def follow(self: InfinitesimalStep, loss: Tensor) -> None:
        self.nu = {name: -grad for name, grad in self.gradient(loss).items()}

    patch.setattr(InfinitesimalStep, "follow", follow)


def unmeasured_units(patch: Patch) -> None:
    def difference(self: InfinitesimalStep, z: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        return auxiliary.torch.zeros_like(z)

    patch.setattr(InfinitesimalStep, "difference", difference)


p, steps = mm_properties, mm_step_properties
MUTANTS = [
    (fresh_noise, p.student_rests_at_the_root),
    (fresh_noise, p.alternating_descent_converges),
    (leaking_state, p.student_gradient_is_the_closed_form),
    (no_pull, p.auxiliary_optimum_is_halfway),
    (direct_subtraction, mm_phi_properties.difference_keeps_its_digits),
    (wrong_sign, mm_phi_properties.instant_gradient_is_the_closed_form),
    (wrong_sign, mm_phi_properties.instant_is_the_first_step_of_alternating),
    (wrong_sign, mm_phi_properties.instant_descends_the_norm_of_the_moments),
    (metric_without_root, mm_phi_properties.instant_descends_the_norm_of_the_moments),
    (metric_forgotten, mm_phi_properties.instant_descends_the_norm_of_the_moments),
    (one_batch_for_both, steps.instant_compares_two_batches),
    (trained_theta, steps.instant_moves_the_student_only),
    (student_first, steps.even_steps_move_phi_and_odd_ones_the_student),
    (unscaled_gap, mm_law_properties.time_law),
    (renoising_sampler, mm_law_properties.sampler_has_the_published_variance),
    (unit_weight, p.random_levels_rest_at_the_roots),
    (unmeasured_units, steps.units_are_as_documented),
]


@pytest.mark.parametrize(("mutate", "check"), MUTANTS, ids=lambda f: f.__name__)
def test_mutants_are_caught(
    mutate: Callable[[Patch], None], check: Callable[[], None], monkeypatch: Patch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        check()
