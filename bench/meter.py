"""The meter: what every network call costs, by role and phase.

A unit is one forward of the reference network on one sample. Counting is a thin shell outside the plain
module. A forward costs the network's FLOPs over the reference's; a backward through frozen weights costs as
much again, with weight gradients twice as much. FLOPs are counted once per network shape, never live.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from bench.keeping import WHOLE, Keeping

INPUT_BACKWARD = 1.0  # cost of a backward through frozen weights, in forwards
WEIGHT_BACKWARD = 2.0  # cost of a backward that also gives weight gradients
WEIGHT_TANGENT = (
    2.0  # what a derivative along a weight direction adds to a forward: two products for every one
)


class Sharing(Protocol):
    """How the networks of a training are called: shared out over processes (``bench.distributed``), compiled.

    Attributes:
        slack: factor on the time that a step may take.
        processes: that share them.
        keeps: how they keep the weights.
    """

    slack: float
    processes: int
    keeps: Keeping

    def call(self, module: nn.Module, method: str, *args: Any, **kwargs: Any) -> Tensor:
        """``module.method(*args)`` for a batch."""

    def agreed(self, value: bool) -> bool:
        """What one process decides for all, by its clock say."""


class Alone:
    """All in this process, as it is written."""

    slack, processes = 1.0, 1
    keeps: Keeping = WHOLE

    def call(self, module: nn.Module, method: str, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = getattr(module, method)(*args, **kwargs)
        return out

    def agreed(self, value: bool) -> bool:
        return value


ALONE = Alone()


class Meter:
    """Counts calls (samples x forwards or backwards) and work units, by (phase, role)."""

    def __init__(self) -> None:
        self.forwards: Counter[tuple[str, str]] = Counter()
        self.backwards: Counter[tuple[str, str]] = Counter()
        self.units: dict[tuple[str, str], float] = defaultdict(float)
        self.phase = "train"

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Charge everything inside to another phase ("sample", "prepare")."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    def charge(self, role: str, samples: int, cost: float, *, backward: float = 0.0) -> None:
        """Count one call on ``samples`` samples; ``backward`` is 0 for a forward, else its factor."""
        key = (self.phase, role)
        (self.backwards if backward else self.forwards)[key] += samples
        self.units[key] += samples * cost * (backward or 1.0)

    def work(self, phase: str = "train") -> float:
        """Units spent in a phase."""
        return float(sum(units for (p, _), units in self.units.items() if p == phase))

    def by_role(self, what: str = "units", phase: str = "train") -> dict[str, float]:
        """Totals of ``units``, ``forwards`` or ``backwards`` of a phase, by role."""
        table: dict[tuple[str, str], float] = getattr(self, what)
        return {role: value for (p, role), value in sorted(table.items()) if p == phase and value}

    def state_dict(self) -> dict[str, dict[str, float]]:
        """Counts as plain JSON values."""
        tables: dict[str, Mapping[tuple[str, str], float]] = {
            "forwards": self.forwards,
            "backwards": self.backwards,
            "units": self.units,
        }
        return {
            name: {"/".join(key): value for key, value in table.items()} for name, table in tables.items()
        }

    def load_state_dict(self, state: dict[str, dict[str, float]]) -> None:
        """Restore ``state_dict``."""
        for name, table in state.items():
            counts: Counter[Any] = getattr(self, name)
            counts.clear()
            counts.update({tuple(key.split("/", 1)): value for key, value in table.items()})


class Metered:
    """Counting shell around a denoiser or another module; calls, counts, and otherwise stays out of the way.

    Args:
        plain: the module inside; its parameters are looked up once.
        role: teacher, student, fake, discriminator, ...
        cost: of one forward on one sample, in units.
        share: how calls are shared out over processes.
    """

    def __init__(
        self, plain: nn.Module, role: str, meter: Meter, cost: float = 1.0, share: Sharing = ALONE
    ) -> None:
        self.plain: Any = plain
        self.weights = list(plain.parameters())
        self.role, self.meter, self.cost, self.share = role, meter, cost, share
        self.encoder_share: float | None = None  # of the forward's FLOPs, counted at the first tap
        self.evaluations = int(getattr(plain, "evaluations", 1))  # a guided denoiser takes two

    def _count(self, out: Tensor, share: float = 1.0, evaluations: int = 1) -> Tensor:
        samples, cost = len(out) * evaluations, self.cost * share
        self.meter.charge(self.role, samples, cost)
        if out.requires_grad:
            trained = any(p.requires_grad for p in self.weights)
            factor = WEIGHT_BACKWARD if trained else INPUT_BACKWARD
            role, meter = self.role, self.meter
            out.register_hook(lambda grad: meter.charge(role, samples, cost, backward=factor))
        return out

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._count(
            self.share.call(self.plain, "__call__", *args, **kwargs), evaluations=self.evaluations
        )

    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Metered raw output F."""
        return self._count(self.share.call(self.plain, "raw", x, sigma, cond), evaluations=self.evaluations)

    def jvp(self, direction: dict[str, Tensor], *args: Any) -> Tensor:
        """Metered derivative along a direction in weight space: one forward, charged as three."""
        out = self.share.keeps.derivative(self.plain, direction, *args)
        self.meter.charge(self.role, len(out) * self.evaluations, self.cost * (1 + WEIGHT_TANGENT))
        return out

    def features(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        """Metered encoder features, charged by the encoder's share of a forward."""
        if self.encoder_share is None:
            one = (x[:1].detach(), 1.0, None if cond is None else cond[:1])
            whole = forward_flops(self.plain, *one) / self.evaluations
            self.encoder_share = forward_flops(self.plain.features, *one) / whole if whole else 1.0
        return self._count(self.share.call(self.plain, "features", x, sigma, cond), self.encoder_share)

    @property
    def scaling(self) -> Any:
        """Scaling of the denoiser inside."""
        return self.plain.scaling


def metered(students: Mapping[int, Any], meter: Meter) -> dict[int, Metered]:
    """Students by step count in counting shells (role "student"); one that serves several has one shell."""
    shells = {id(net): Metered(net, "student", meter) for net in students.values()}
    return {steps: shells[id(net)] for steps, net in students.items()}


def forward_flops(module: Callable[..., Any], *example: Any) -> int:
    """FLOPs of one call on an example (counted by torch, matrix products and convolutions)."""
    from torch.utils.flop_counter import FlopCounterMode

    # as plain products: of fused attention torch does not count the CPU's kernel
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*example)
    return int(counter.get_total_flops())


def denoiser_flops(denoiser: Denoiser, shape: tuple[int, ...], cond: Cond) -> int:
    """FLOPs of one denoiser call on one sample of a shape."""
    device = next(denoiser.parameters()).device
    return forward_flops(denoiser, torch.zeros(1, *shape, device=device), 1.0, cond)
