"""Learning-rate schedules that belong to a method's paper."""

from __future__ import annotations

from baselines.distiller import Optimizer


def warm_up(optimizer: Optimizer, lr: float, iteration: int, length: int) -> None:
    """Set the rate: linear from 0 over the first ``length`` iterations, then ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * min(1.0, iteration / length) if length else lr
