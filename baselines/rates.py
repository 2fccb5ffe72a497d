"""Learning-rate schedule of all methods: linear warm-up, constant, linear fall at the end of the budget."""

from __future__ import annotations

from baselines.distiller import Optimizer


def set_rate(
    optimizer: Optimizer,
    lr: float,
    *,
    iteration: int = 0,
    warmup: int = 0,
    progress: float = 0.0,
    anneal: float = 0.0,
) -> None:
    """Set the rate of every parameter group.

    Args:
        lr: the constant rate.
        iteration, warmup: the rate rises linearly from 0 over the first ``warmup`` iterations (0: at once).
        progress, anneal: it falls linearly to 0 over the last share ``anneal`` of the budget (0: never),
            of which the share ``progress`` is spent.
    """
    rise = min(1.0, iteration / warmup) if warmup else 1.0
    fall = min(1.0, (1 - progress) / anneal) if anneal else 1.0
    for group in optimizer.param_groups:
        group["lr"] = lr * rise * fall
