"""Plausible mistakes in SiD and PD: each must make at least one property fail.

A mutant is the method's source with one fragment replaced, executed as a module of its own.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

import pd_properties
import pd_stage_properties
import pytest
import sid_properties
import sid_step_properties

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


def mutant(original: ModuleType, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    source = inspect.getsource(original)
    assert source.count(old) == 1, f"{original.__name__} has {source.count(old)} places {old!r}, expected 1"
    module = ModuleType(f"{original.__name__}_mutant")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source.replace(old, new), module.__name__, "exec"), vars(module))
    return module


def caught(module: ModuleType, checks: Iterable[Callable[[ModuleType], None]]) -> str | None:
    """Name of the first property that the module breaks."""
    for check in checks:
        try:
            check(module)
        except AssertionError:
            return check.__name__
    return None


FAMILIES = [
    (sid, SID_FORMULA, sid_properties),
    (sid, SID_STEP, sid_step_properties),
    (progressive, PD_FORMULA, pd_properties),
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
