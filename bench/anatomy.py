"""What a method holds in memory and spends per iteration, counted on a few iterations of the gmm2d suite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from baselines.distiller import Distiller, Settings
from bench.catalog import METHODS
from bench.context import RunContext
from bench.lab import Lab
from bench.meter import Meter
from bench.methods import MethodRegistry
from bench.selector import Selector
from bench.suite import load_suite

SUITE, BATCH, BUDGET = "gmm2d", 4, 1e9
ITERATIONS = 6  # one more than DMD2 has between two turns of its generator
PREPARATION = {"pairs": BATCH}  # options that size a phase before training, cut to one iteration


@dataclass(frozen=True)
class Anatomy:
    """A method on the lab of a suite.

    Attributes:
        label: selector; cls: the method, bound to its base if it is a wrapper.
        networks: weights by role, the suite's own teacher first; frozen: roles that no optimiser has.
        work: units per sample of each iteration.
        forwards, backwards: of each iteration, calls per sample by role; an encoder's pass counts as one.
    """

    label: str
    cls: type[Distiller]
    networks: dict[str, int]
    frozen: tuple[str, ...]
    work: tuple[float, ...]
    forwards: tuple[dict[str, float], ...]
    backwards: tuple[dict[str, float], ...]


def short_config(cls: type[Distiller]) -> Settings:
    """The default options, with phases before training cut to one iteration."""
    cut = {name: value for name, value in PREPARATION.items() if name in cls.Config.model_fields}
    return cls.Config.model_validate(cut)


def dissect(
    label: str,
    cls: type[Distiller],
    lab: Lab,
    config: Settings | None = None,
    *,
    iterations: int = ITERATIONS,
    budget: float = BUDGET,
) -> Anatomy:
    """Count a method's networks and the work of its first iterations, by default with its default options."""
    meter, config = Meter(), config or short_config(cls)
    context = RunContext(
        lab.space,
        partial(lab.entry.draw, 0),
        meter,
        budget=budget,
        batch_size=BATCH,
        seed=0,
        data_free=not cls.needs.data,
        reference_flops=lab.reference_flops,
        device=lab.device,
    )
    method, counts = cls(lab.teacher(meter), config, context), [totals(meter)]
    for _ in range(iterations):
        method.step(context.next_batch())
        context.advance()
        counts.append(totals(meter))
    work, forwards, backwards = zip(*(map(per_sample, *pair) for pair in pairwise(counts)), strict=True)
    modules = {"teacher": lab.net, **{role: shell.plain for role, shell in context.networks.items()}}
    sizes = {role: sum(p.numel() for p in module.parameters()) for role, module in modules.items()}
    groups = [group for optimizer in context.optimizers.values() for group in optimizer.param_groups]
    trained = {id(p) for group in groups for p in group["params"]}
    frozen = tuple(role for role, module in modules.items() if id(next(module.parameters())) not in trained)
    units = tuple(sum(each.values()) for each in work)
    return Anatomy(label, cls, sizes, frozen, units, forwards, backwards)


def totals(meter: Meter) -> list[dict[str, float]]:
    """Units, forwards and backwards of training so far, by role."""
    return [meter.by_role(what) for what in ("units", "forwards", "backwards")]


def per_sample(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What an iteration added, per sample."""
    added = {role: (total - before.get(role, 0)) / BATCH for role, total in after.items()}
    return {role: value for role, value in added.items() if value}


def anatomies(name: str) -> list[Anatomy]:
    """A method that ships, once for each method that it can wrap."""
    registry, lab = MethodRegistry(), Lab.open(load_suite(SUITE))
    bases = METHODS[name].wraps
    selectors = [Selector(name, (("base", base),)) for base in bases] or [Selector(name)]
    return [dissect(each.label, registry.resolve(each)[0].cls, lab) for each in selectors]
