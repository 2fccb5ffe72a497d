"""Rank agreement of two short lists, without numerics packages."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

LONGEST = 8  # lists that are enumerated: 8! = 40,320 orders
RESAMPLES = 2000
ROUNDING = 1e-12


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b with what chance would give.

    Attributes:
        p: share of all orders of one list whose |tau| is as large: exact and two-sided.
        interval: 2.5 % and 97.5 % quantiles over resampled pairs; None if most resamples were all ties.
    """

    tau: float
    n: int
    p: float
    interval: tuple[float, float] | None


def tau_b(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b: ties lower the divisor; None if one list is constant.

    Raises:
        ValueError: the lengths differ.
    """
    pairs = list(combinations(zip(x, y, strict=True), 2))
    agree = sum(_sign(a[0] - b[0]) * _sign(a[1] - b[1]) for a, b in pairs)
    untied = [sum(a[k] != b[k] for a, b in pairs) for k in (0, 1)]
    return agree / math.sqrt(untied[0] * untied[1]) if all(untied) else None


def agreement(x: Sequence[float], y: Sequence[float]) -> Agreement | None:
    """Agreement of two lists of the same things; None if one list is constant.

    The resamples draw things with replacement, from a generator seeded by the number of things.

    Raises:
        ValueError: the lengths differ, or there are more than ``LONGEST``.
    """
    if len(x) > LONGEST:
        raise ValueError(f"agreement: found {len(x)} values, expected at most {LONGEST}")
    tau = tau_b(x, y)
    if tau is None:
        return None
    orders = [tau_b(x, order) or 0.0 for order in permutations(y)]
    p = sum(abs(one) >= abs(tau) - ROUNDING for one in orders) / len(orders)
    return Agreement(tau, len(x), p, _interval(x, y))


def _interval(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    rng, n, taus = random.Random(len(x)), len(x), []
    for _ in range(RESAMPLES):
        rows = [rng.randrange(n) for _ in range(n)]
        tau = tau_b([x[i] for i in rows], [y[i] for i in rows])
        if tau is not None:
            taus.append(tau)
    if len(taus) < RESAMPLES / 2:
        return None
    taus.sort()
    return taus[int(0.025 * len(taus))], taus[math.ceil(0.975 * len(taus)) - 1]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
