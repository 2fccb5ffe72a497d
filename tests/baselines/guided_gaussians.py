"""Classifier-free guidance of Gaussians: a network that knows N(mean, std^2) of every label and of none.

Guided with strength w, equal standard deviations give again a Gaussian, of mean ``(1 + w) m_c - w m_0``.
"""

from __future__ import annotations

import torch
from gaussian_methods import run_context
from torch import Tensor, nn

from baselines.diffusion.cond import NULL_LABEL, Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.guidance import GuidedDenoiser
from baselines.distiller import Space, Teacher
from bench.context import RunContext
from bench.meter import Metered


class LabelledGaussians(nn.Module):
    """Raw EDM network whose denoiser is the posterior mean of the label's Gaussian; the last is of none."""

    def __init__(self, means: list[float], stds: list[float]) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor(means, dtype=torch.float64))
        self.stds = nn.Parameter(torch.tensor(stds, dtype=torch.float64))

    def forward(
        self, x: Tensor, noise_label: Tensor, label: Tensor | None, w: Tensor | None = None
    ) -> Tensor:
        if label is None:
            label = torch.full((len(x),), NULL_LABEL)
        level, scaling = (4 * noise_label).exp()[:, None], EDMScaling(0.5)
        noisy = x / scaling.c_in(level)
        mean, variance = self.means[label][:, None], self.stds[label][:, None] ** 2
        estimate = mean + variance / (variance + level**2) * (noisy - mean)
        return (estimate - scaling.c_skip(level) * noisy) / scaling.c_out(level)


def conditional(means: list[float], stds: list[float]) -> Denoiser:
    return Denoiser(LabelledGaussians(means, stds), EDMScaling(0.5)).requires_grad_(False)


def guided_teacher(net: Denoiser, w: float | None) -> tuple[Teacher, RunContext]:
    """A guided teacher (w None: each condition has its own), and a context in fp64, whose data are zeros."""

    def draw(number: int, size: int) -> tuple[Tensor, Cond]:
        return torch.zeros(size, 1, dtype=torch.float64), Cond(label=torch.zeros(size, dtype=torch.long))

    context = run_context(Space((1,), n_classes=1, unconditional=True), draw)
    plain = Metered(net, "teacher", context.meter)
    guided = Metered(GuidedDenoiser(net, w), "teacher", context.meter)
    return Teacher(context.space, plain, None, guided), context  # type: ignore[arg-type]


def labelled(count: int, label: int = 0, w: float | list[float] | None = None) -> Cond:
    """The condition of ``count`` samples of one class."""
    strength = None if w is None else torch.as_tensor(w, dtype=torch.float64).expand(count)
    return Cond(label=torch.full((count,), label), w=strength)
