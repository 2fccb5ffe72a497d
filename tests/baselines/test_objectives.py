"""Settings of the methods: weights of losses, clipping, optimisers, rates; and mutants, to be caught."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import objective_properties as p
import pytest
from mutants import caught, mutant

from baselines import dmd, dmd2, lcm, moment_matching, sid

CLIP, DECAY = ", clip=config.clip", '"weight_decay": config.weight_decay'
FALL = "progress=self.context.progress, anneal=config.anneal"
BETAS = '"betas": (config.beta1, config.beta2)'
MUTANTS: dict[ModuleType, dict[str, tuple[str, str]]] = {
    dmd: {
        "regression unweighted": ("matching + config.lambda_reg * regression", "matching + regression"),
        "regression forgotten": ("matching + config.lambda_reg * regression", "matching"),
        "matching forgotten": ("matching + config.lambda_reg * regression", "config.lambda_reg * regression"),
        "weight of data without labels": ("Field(0.25, ge=0", "Field(0.5, ge=0"),
        "weight squared": ("config.lambda_reg * regression", "config.lambda_reg**2 * regression"),
        "generator not clipped": (f"self.optimizer{CLIP}", "self.optimizer"),
        "fake score not clipped": (f"self.fake_optimizer{CLIP}", "self.fake_optimizer"),
        "no decay": (f"            {DECAY},\n", ""),
        "Adam without momentum": (BETAS, '"betas": (0.0, config.beta2)'),
        "beta2 forgotten": (BETAS, '"betas": (config.beta1, 0.99)'),
        "epsilon of moment matching": (BETAS, f'{BETAS}, "eps": 1e-12'),
        "generator not annealed": (f", {FALL}", ""),
        "fake score annealed": (
            "set_rate(self.fake_optimizer, config.lr, **warm)",
            f"set_rate(self.fake_optimizer, config.lr, {FALL})",
        ),
        "regression on the matching latents": (
            "regression = self.regression_loss()",
            "regression = self.distance(x_g, self.chunks[0].y[: len(x_g)]).mean()",
        ),
        "matching on half of the batch": (
            "self.matching.loss(x_g, batch",
            "self.matching.loss(x_g[:4], batch",
        ),
    },
    dmd2: {
        "generator not clipped": (f"self.optimizer{CLIP}", "self.optimizer"),
        "critic not clipped": (f"self.critic_optimizer{CLIP}", "self.critic_optimizer"),
        "no decay": (f", {DECAY}", ""),
        "Adam without momentum": (BETAS, '"betas": (0.0, config.beta2)'),
        "generator not annealed": (f", {FALL}", ""),
        "critic annealed": (
            "set_rate(self.critic_optimizer, config.lr, **warm)",
            f"set_rate(self.critic_optimizer, config.lr, {FALL})",
        ),
    },
    sid: {
        "generator not annealed": ("progress=progress, anneal=config.anneal", ""),
        "fake score annealed": (
            "set_rate(self.optimizer, config.lr, ",
            "set_rate(self.fake_optimizer, config.lr, ",
        ),
    },
    lcm: {"not annealed": ("progress=progress, anneal=config.anneal", "progress=progress")},
    moment_matching: {
        "student not clipped": ('self.optimizers["student"], clip=config.clip', 'self.optimizers["student"]'),
        "phi not clipped": (", clip=self.method.config.clip", ""),
        "Adam's own betas": ("betas=config.betas", "betas=(0.9, 0.999)"),
        "Adam's own epsilon": ("eps=1e-12", "eps=1e-8"),
    },
}
CHECKS = {
    dmd: p.DMD_CHECKS,
    dmd2: p.DMD2_CHECKS,
    sid: p.SID_CHECKS,
    lcm: p.LCM_CHECKS,
    moment_matching: p.MM_CHECKS,
}


def short(module: ModuleType) -> str:
    return module.__name__.split(".")[-1]


@pytest.mark.parametrize(
    ("module", "check"),
    [
        pytest.param(m, c, id=f"{short(m)}: {c.__name__}{i}")
        for m, cs in CHECKS.items()
        for i, c in enumerate(cs)
    ],
)
def test_settings(module: ModuleType, check: Callable[[ModuleType], None]) -> None:
    check(module)


CASES = [
    pytest.param(module, *edit, id=f"{short(module)}: {mistake}")
    for module, mistakes in MUTANTS.items()
    for mistake, edit in mistakes.items()
]


@pytest.mark.parametrize(("module", "old", "new"), CASES)
def test_mistakes_are_caught(module: ModuleType, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught(mutant(module, old, new, monkeypatch), CHECKS[module])
