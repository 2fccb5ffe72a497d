"""Learning-rate schedules that belong to a method's paper."""

from __future__ import annotations

from baselines.distiller import Optimizer


def warm_up(optimizer: Optimizer, lr: float, iteration: int, length: int) -> None:
    """Set the rate: linear from 0 over the first ``length`` iterations, then ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * min(1.0, iteration / length) if length else lr


def warm_up_then_linear(
    optimizer: Optimizer, lr: float, iteration: int, length: int, progress: float
) -> None:
    """``warm_up``, times a linear fall to 0 at the end of the budget (``progress`` is its spent share)."""
    warm_up(optimizer, lr * (1 - progress), iteration, length)


def constant_then_linear(optimizer: Optimizer, lr: float, progress: float, share: float) -> None:
    """Set the rate: ``lr``, then linear to 0 over the last ``share`` of the budget (0: constant)."""
    left = 1 - progress
    for group in optimizer.param_groups:
        group["lr"] = lr * min(1.0, left / share) if share else lr
