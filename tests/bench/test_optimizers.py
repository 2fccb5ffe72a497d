"""Optimisers that trainings are handed: fused kernels, and the plain arithmetic they must equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.distiller import Space
from baselines.networks.layers import Conv2d
from bench.context import RunContext
from bench.meter import Meter, Metered

ADAM = {"betas": (0.5, 0.9), "eps": 1e-8}


def convolution() -> Any:
    """A small network whose weights lie in channels-last memory, in its shell."""
    layer = Conv2d(3, 5, 3)
    assert layer.weight is not None
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    return Metered(layer.to(memory_format=torch.channels_last), "student", Meter())


def gradients(step: int, layer: nn.Module) -> list[Tensor]:
    """In plain memory order, of very different sizes."""
    generator = torch.Generator().manual_seed(step)
    return [10.0 ** (step % 5 - 2) * torch.randn(p.shape, generator=generator) for p in layer.parameters()]


def by_hand(layer: nn.Module, steps: int, lr: float, decay: float) -> list[Tensor]:
    """Adam (Kingma and Ba, algorithm 1) in fp64, with decoupled decay."""
    (beta1, beta2), eps = ADAM["betas"], ADAM["eps"]
    weights = [p.detach().double() for p in layer.parameters()]
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for t in range(1, steps + 1):
        for w, m, v, g in zip(weights, first, second, gradients(t, layer), strict=True):
            w.mul_(1 - lr * decay)
            m.lerp_(g.double(), 1 - beta1)
            v.lerp_(g.double() ** 2, 1 - beta2)
            w.sub_(lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps))
    return weights


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_fused_steps_are_adams(decay: float) -> None:
    """Gradients lie in another order in memory than weights: fused kernels alone would mix them up."""
    shell = convolution()
    expected = by_hand(shell.plain, 6, 1e-2, decay)
    context = RunContext(Space((3, 4, 4)), blank, Meter(), budget=1.0, batch_size=1, seed=0)
    optimizer = context.optimizer("student", shell, lr=1e-2, weight_decay=decay, **ADAM)
    for t in range(1, 7):
        for p, g in zip(shell.plain.parameters(), gradients(t, shell.plain), strict=True):
            p.grad = g
        optimizer.step()
    for p, w in zip(shell.plain.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), w.float(), rtol=1e-5, atol=1e-6)
    assert not shell.plain.weight.is_contiguous()


def blank(number: int, size: int) -> tuple[Tensor, Cond]:
    return torch.zeros(size, 3, 4, 4), Cond()
