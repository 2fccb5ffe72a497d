"""Plausible mistakes in SiD and PD: each must make at least one property fail."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pd_limit_properties
import pd_properties
import pd_stage_properties
import pytest
import sid_properties
import sid_step_properties
import sid_weight_properties
from mutants import caught, mutant

from baselines import progressive, sid

SID_FORMULA = {
    "alpha with the wrong sign": ("- alpha * delta)", "+ alpha * delta)"),
    "delta reversed": ("delta = f_phi - f_psi", "delta = f_psi - f_phi"),
    "omega not detached": ("@torch.no_grad()\ndef normaliser", "def normaliser"),
    "omega summed over pixels": ("1 / pixel_mean((x_g", "1 / pixel_sum((x_g"),
    "explicit x_g detached": ("((f_phi - x_g) - alpha", "((f_phi - x_g.detach()) - alpha"),
    "teacher route detached": ("denoiser(x_g + noise", "denoiser(x_g.detach() + noise"),
    "fake route detached": ("fake.network(x_g + noise", "fake.network(x_g.detach() + noise"),
    "schedule reaches sigma_max": (
        "KarrasTimeLaw(self.space.grid, config.t_max)",
        "KarrasTimeLaw(self.space.grid)",
    ),
    "nan samples leave the divisor": (".sum() / len(x_g)", ".mean()"),
    "loss averaged over pixels": ("* pixel_sum(delta", "* pixel_mean(delta"),
}

SID_STEP = {
    "noise not shared": (
        "self.fake.network(x_g + noise",
        "self.fake.network(x_g + per_sample(sigma, x_g) * draws.normal(*x_g.shape)",
    ),
    "generator loss trains psi": ("with frozen(self.fake.network):", "if True:"),
    "stale labels": ("fresh = self.context.next_batch()", "fresh = batch"),
    "generator starts at sigma_max": (
        "OneStep(students, config.sigma_init, space.grid)",
        "OneStep(students, space.sigma_max, space.grid)",
    ),
    "fake loss averaged over pixels": ("pixel_sum(self.fake.loss", "pixel_mean(self.fake.loss"),
    "Adam with momentum": ('"betas": (config.beta1', '"betas": (0.9'),
    "loss scale forgotten": ("loss * config.loss_scale", "loss"),
    "nan of the fake score leaves the divisor": ("/ len(errors)", "/ (~errors.isnan()).sum()"),
    "gradients of psi not made finite": ("self.fake_optimizer, finite=True", "self.fake_optimizer"),
    "gradients of theta not made finite": ("self.optimizer, finite=True", "self.optimizer"),
}

SID_WEIGHT = {
    "omega of squares": ("(x_g - f_phi).abs()", "(x_g - f_phi).square()"),
    "omega of the batch": ("pixel_mean((x_g - f_phi).abs())", "(x_g - f_phi).abs().mean().expand(len(x_g))"),
    "omega of the fake score": ("normaliser(x_g, f_phi) *", "normaliser(x_g, f_psi) *"),
    "omega of the networks' difference": ("normaliser(x_g, f_phi) *", "normaliser(f_psi, f_phi) *"),
    "half of alpha": ("- alpha * delta)", "- 0.5 * alpha * delta)"),
}

PD_FORMULA = {
    "t' and t'' swapped": ("for h in (0, 0.5, 1)", "for h in (0, 1, 0.5)"),
    "off by half a node": ("(node.double() + h)", "(node.double() + h - 0.5)"),
    "whole teacher steps": ("for h in (0, 0.5, 1)", "for h in (0, 1, 2)"),
    "weights exchanged": ("per_sample(w1, d1) * d1", "per_sample(1 - w1, d1) * d1"),
    "target with gradient": ("    @torch.no_grad()\n    def target", "    def target"),
    "second evaluation at a": ("state.b), state.b,", "state.b), state.a,"),
    "unweighted loss": ("truncated_snr_weight(state.a).to(error.dtype) * ", ""),
    "last node never drawn": ("[:-1].tolist()", "[: max(1, self.ladder[self.stage] - 1)].tolist()"),
}

PD_LIMITS = {
    "first teacher not guided": (
        "if self.stage else self.teacher.denoiser",
        "if self.stage else self.teacher.net",
    ),
    "every teacher guided again": (
        "self.previous if self.stage else self.teacher.denoiser",
        "self.teacher.denoiser",
    ),
    "weights exchanged": ("per_sample(w1, d1) * d1", "per_sample(1 - w1, d1) * d1"),
    "second evaluation at a": ("state.b), state.b,", "state.b), state.a,"),
    "weight of v": ("truncated_snr_weight(state.a)", "(1 + truncated_snr_weight(state.a))"),
    "one label for the batch": (
        "d2 = teacher(ddim_step(state.x, d1, state.a, state.b), state.b, state.cond)",
        "d2 = teacher(ddim_step(state.x, d1, state.a, state.b), state.b, state.cond[[0] * len(state.x)])",
    ),
}

PD_STAGES = {
    "target by the student": (
        "self.bounded(self.previous if",
        "self.bounded(self.student if",
    ),
    "always the first teacher": (
        "self.previous if self.stage else self.teacher.denoiser",
        "self.teacher.denoiser",
    ),
    "optimiser not reset": ("        self.optimizer.state.clear()\n", ""),
    "rate not annealed again": ("self.ends[self.stage - 1] if self.stage else 0.0, ", "0.0, "),
    "one annealing for all stages": (
        "else 0.0, self.ends[self.stage]",
        "else 0.0, 1.0 + (self.ends[self.stage - 1] if self.stage else 0.0)",
    ),
    "teacher of the stage not replaced": ("        self.previous.plain.load_state_dict(weights)\n", ""),
    "served student not kept": (
        "            self.kept[steps].plain.load_state_dict(weights)\n",
        "            pass\n",
    ),
    "gradients not clipped": (", clip=self.config.clip", ""),
}


FAMILIES = [
    (sid, SID_FORMULA, sid_properties),
    (sid, SID_STEP, sid_step_properties),
    (sid, SID_WEIGHT, sid_weight_properties),
    (progressive, PD_FORMULA, pd_properties),
    (progressive, PD_LIMITS, pd_limit_properties),
    (progressive, PD_STAGES, pd_stage_properties),
]
CASES = [
    pytest.param(method, *edit, family.PROPERTIES, id=f"{method.__name__.split('.')[-1]}: {mistake}")
    for method, mistakes, family in FAMILIES
    for mistake, edit in mistakes.items()
]


@pytest.mark.parametrize(("method", "old", "new", "checks"), CASES)
def test_mistakes_are_caught(
    method: ModuleType,
    old: str,
    new: str,
    checks: list[Callable[[ModuleType], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert caught(mutant(method, old, new, monkeypatch), checks)
