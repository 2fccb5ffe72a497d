"""What every method's settings must do: weights of its losses, clipping, optimisers, rates.

Checks take the module of a method, so that mutants can be tried.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from gaussian_methods import build, run_context, train
from torch import Tensor

from baselines.distiller import Distiller, Settings

BUDGET, PEAK = 1e9, 1e-3
Check = Callable[[ModuleType], None]
SMALL: dict[str, dict[str, Any]] = {
    "DMD": {"pairs": 8, "pair_steps": 2, "warmup": 0, "lr": PEAK},
    "DMD2": {"warmup": 0, "lr": PEAK, "ratio": 1},
    "SiD": {"lr": PEAK, "lr_fake": PEAK},
    "LCM": {"lr": PEAK},
    "MomentMatching": {"warmup": 0, "lr": PEAK, "real_batches": 0},
}


def small(module: ModuleType, name: str, **config: Any) -> Any:
    """The method of a module on a small network, ready for its first update."""
    method: type[Distiller] = getattr(module, name)
    made = build(method, {**SMALL[name], **config}, run_context(budget=BUDGET))
    if name == "DMD":
        train(made, 1)  # its pairs
    return made


def watched_steps(method: Any, iterations: int = 1) -> dict[str, list[tuple[float, float]]]:
    """Joint norm of the gradients, and the rate, at every step of every optimiser."""
    seen: dict[str, list[tuple[float, float]]] = {}

    def watch(name: str, optimizer: Any) -> None:
        step = optimizer.step

        def run() -> Any:
            (group,) = optimizer.param_groups
            norms = [p.grad.norm() for p in group["params"] if p.grad is not None]
            seen.setdefault(name, []).append((float(torch.stack(norms).norm()), group["lr"]))
            return step()

        optimizer.step = run

    for name, optimizer in method.context.optimizers.items():
        watch(name, optimizer)
    train(method, iterations)
    return seen


def clipped(name: str, expected: dict[str, int], **config: Any) -> Check:
    """A check that every optimiser cuts the joint norm at ``clip``; it expects so many steps of each."""

    def check_gradients_are_clipped(module: ModuleType) -> None:
        free = watched_steps(small(module, name, clip=1e9, **config), 2)
        cut = watched_steps(small(module, name, clip=1e-4, **config), 2)
        for seen in (free, cut):
            assert {name: len(steps) for name, steps in seen.items()} == expected
        for optimizer, steps in free.items():
            for norm, _ in steps:
                assert norm > 1e-3 or norm == 0, (optimizer, norm)
        for optimizer, steps in cut.items():
            for norm, _ in steps:
                assert abs(norm - 1e-4) < 1e-7 or norm == 0, (optimizer, norm)
            assert any(norm > 0 for norm, _ in steps), optimizer

    return check_gradients_are_clipped


def adam(name: str, optimizers: set[str], *, rate: float, config: dict[str, Any], **expected: Any) -> Check:
    """A check of every optimiser's settings, once by default and once as the options say."""

    def check_optimizers(module: ModuleType) -> None:
        method: Any = getattr(module, name)
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {"lr": rate, **expected})]
        changed = {**expected, "lr": 0.125, "betas": (0.25, 0.5)}
        if expected["weight_decay"]:
            changed["weight_decay"] = 0.75
        cases.append((config, changed))
        for options, settings in cases:
            made: Any = build(method, {"lr": rate, **options}, run_context())
            found = made.context.optimizers
            assert set(found) == optimizers
            for role, optimizer in found.items():
                (group,) = optimizer.param_groups
                assert {key: group[key] for key in settings} == settings, (role, group)
                # decay belongs to the weights, not to the gradients
                assert isinstance(optimizer, torch.optim.AdamW) == bool(settings["weight_decay"])

    return check_optimizers


def annealed(name: str, student: str, constant: str | None = None) -> Check:
    """A check that the student's rate falls to 0 over the last share ``anneal``; critics keep theirs."""

    def check_rate_is_annealed(module: ModuleType) -> None:
        for anneal in (0.0, 0.25, 1.0):
            method = small(module, name, anneal=anneal)
            meter = method.context.meter
            for progress in (0.1, 0.5, 0.8, 0.95):
                meter.charge("ballast", 1, progress * BUDGET - meter.work())
                rates = {role: steps[-1][1] for role, steps in watched_steps(method).items()}
                fall = min(1.0, (1 - progress) / anneal) if anneal else 1.0
                assert abs(rates[student] / PEAK - fall) < 1e-6, (anneal, progress, rates)
                assert constant is None or rates[constant] == PEAK, (anneal, progress, rates)

    return check_rate_is_annealed


def check_dmd_total(module: ModuleType) -> None:
    """The generator descends ``matching + lambda_reg * regression``, each term as the method computes it."""
    found = {}
    for share in (0.0, 0.25, 2.0):
        method = small(module, "DMD", lambda_reg=share, clip=1e9, weight_decay=0.0)
        with torch.no_grad():  # at first the fake score is the teacher and there is no matching loss
            method.fake.network.plain.model.out.weight.mul_(0.5)
        batch, student = method.context.next_batch(), list(method.student.plain.parameters())
        draws = method.context.draws()
        x_g = method.generate(draws.normal(batch.size, 2), batch.cond)
        matching = method.matching.loss(x_g, batch.cond, draws)
        total = matching + share * method.regression_loss()
        expected = torch.autograd.grad(total, student)
        method.context._draws.clear()
        method.step(batch)
        grads = [p.grad.clone() for p in student]
        for grad, other in zip(grads, expected, strict=True):
            torch.testing.assert_close(grad, other, rtol=1e-5, atol=1e-9)
        found[share] = torch.cat([grad.flatten() for grad in grads])
    norms = [float(value.norm()) for value in (found[0.0], found[2.0] - found[0.0])]
    assert min(norms) > 1e-4, norms  # both terms are there


def check_dmd_defaults(module: ModuleType) -> None:
    """A quarter of the regression loss, and both networks cut at norm 10 (conditional CIFAR-10)."""
    config: Settings = module.DMDConfig()
    assert (config.lambda_reg, config.clip, config.warmup) == (0.25, 10.0, 500)  # type: ignore[attr-defined]


def check_dmd_latents(module: ModuleType) -> None:
    """The regression batch is not the matching batch: latents of its own, and matching sees x_g only."""
    method = small(module, "DMD")
    latents: list[Tensor] = []
    matched: list[int] = []
    generate, loss = method.generate, method.matching.loss

    def spied(z: Tensor, cond: Any) -> Tensor:
        latents.append(z)
        return generate(z, cond)

    def counted(x_g: Tensor, *rest: Any) -> Tensor:
        matched.append(len(x_g))
        return loss(x_g, *rest)

    method.generate = spied
    object.__setattr__(method.matching, "loss", counted)
    train(method, 1)
    assert len(latents) == 2
    fresh, reference = latents
    known = method.chunks[0].z
    assert matched == [len(fresh)] == [8]
    assert not (fresh[:, None] == reference).all(-1).any()
    assert (reference[:, None] == known).all(-1).any(1).all()


DMD_CHECKS: list[Check] = [
    check_dmd_total,
    check_dmd_defaults,
    check_dmd_latents,
    clipped("DMD", {"student": 2, "fake": 2}),
    adam(
        "DMD",
        {"student", "fake"},
        rate=5e-5,
        config={"lr": 0.125, "beta1": 0.25, "beta2": 0.5, "weight_decay": 0.75},
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.01,
    ),
    annealed("DMD", "student", "fake"),
]
DMD2_CHECKS: list[Check] = [
    clipped("DMD2", {"student": 2, "critic": 2}),
    adam(
        "DMD2",
        {"student", "critic"},
        rate=2e-6,
        config={"lr": 0.125, "beta1": 0.25, "beta2": 0.5, "weight_decay": 0.75},
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.01,
    ),
    annealed("DMD2", "student", "critic"),
]
SID_CHECKS: list[Check] = [annealed("SiD", "student", "fake")]
LCM_CHECKS: list[Check] = [annealed("LCM", "student")]
MM_CHECKS: list[Check] = [
    clipped("MomentMatching", {"student": 1, "auxiliary": 1}),
    clipped("MomentMatching", {"student": 2}, variant="instant"),
    adam(
        "MomentMatching",
        {"student", "auxiliary"},
        rate=1e-5,
        config={"lr": 0.125, "betas": (0.25, 0.5)},
        betas=(0.0, 0.99),
        eps=1e-12,
        weight_decay=0,
    ),
]
