"""PD in its limits: very long ladders, consistency distillation on the same nodes, guidance, velocities.

Checks take the module under test; closed forms are those of ``pd_properties``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from gaussian_methods import build, run_context
from guided_gaussians import conditional, guided_teacher, labelled
from oracles import AffineLadder, Gaussian
from pd_properties import GRID, close, distil_exactly, levels, method_for, multiplier, normal
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import EDMScaling
from baselines.diffusion.vp import EpsilonScaling, VelocityScaling, VPSchedule, scaled_linear
from baselines.lcm import LCM, State
from baselines.losses import truncated_snr_weight

MU, S = 0.3, 0.5


def check_limit_of_many_steps(pd: ModuleType) -> None:
    """4096 student steps, hence 8192 of the teacher: its sampler is .99965 of the exact flow."""
    steps = 4096
    method = method_for(pd, Gaussian(MU, S))
    node = torch.arange(steps, dtype=torch.float64)
    a, b, c = (GRID((node + half) / steps) for half in (0.0, 0.5, 1.0))
    x = torch.full((steps, 1), MU + 1.0, dtype=torch.float64)
    target = method.target(pd.State(x, a, b, c, Cond())) - MU
    landed = target.flatten() + c / a * (1 - target.flatten())  # Euler from x - mu = 1
    flow = ((S**2 + 0.002**2) / (S**2 + 80**2)) ** 0.5
    close(landed.log().sum().exp() / flow, 0.99965, 6e-6)


def consistency_student(nodes: Tensor) -> float:
    """What the student of exact consistency distillation with Euler steps multiplies x - mu by, from 80."""
    made: Any = build(
        LCM,
        {"fine": len(nodes) - 1, "skip": 1, "serves": (1,), "distance": "l2"},
        run_context(),
        exact=Gaussian(MU, S),
    )
    made.follower = AffineLadder(MU, nodes)
    gains = made.follower.gains.data
    gains[-1] = 1.0  # the last node is the data
    for k in reversed(range(len(nodes) - 1)):
        x = torch.full((1, 1), MU + nodes[k].item(), dtype=torch.float64)
        state = State(x, nodes[k : k + 1], nodes[k + 1 : k + 2], Cond())
        gains[k] = (made.target(state).item() - MU) / nodes[k]
    return float(gains[0])


def check_one_step_is_the_consistency_student(pd: ModuleType) -> None:
    """One-step PD of a 16-step Euler teacher is the exact CD/Euler student on the same 17 nodes."""
    *_, (steps, method) = distil_exactly(pd, Gaussian(MU, S), MU, 8)
    assert steps == 1
    found = multiplier(method.student.plain, GRID.nodes(1))
    close(found / consistency_student(GRID.nodes(16)), 1.0, 1e-12)


def check_norms_of_errors(pd: ModuleType) -> None:
    """With one x0 error: eps errs by SNR, v by 1 + SNR times its square; the loss weighs by the larger."""
    schedule = VPSchedule.of_rates(scaled_linear(0.00085, 0.012, 1000))
    sigma = schedule.levels[[5, 300, 600, 999]]
    x, error, snr = normal(4, 3) * 4, normal(4, 3, seed=1), 1 / sigma**2
    norms = {}
    for name, scaling in (("eps", EpsilonScaling(schedule)), ("v", VelocityScaling(schedule))):
        out = scaling.c_out(sigma)[:, None]
        raw = [(x0 - scaling.c_skip(sigma)[:, None] * x) / out for x0 in (normal(4, 3), normal(4, 3) + error)]
        norms[name] = (raw[1] - raw[0]).square().mean(1)
    squared = error.square().mean(1)
    close(norms["eps"] / (snr * squared), torch.ones(4), 1e-9)
    close(norms["v"] / ((1 + snr) * squared), torch.ones(4), 1e-9)
    method = method_for(pd, Gaussian(MU, S), shape=(3,))
    state = pd.State(x, sigma, 0.9 * sigma, 0.8 * sigma, Cond())
    target = method.target(state)
    method.student = lambda *_: target + error
    close(method.loss(state), torch.maximum(norms["eps"], squared).mean(), 1e-9 * float(norms["eps"].max()))
    close(truncated_snr_weight(sigma) * squared, torch.maximum(norms["eps"], squared), 1e-6)


def check_predictions_convert(pd: ModuleType) -> None:
    """Noise and ``v = alpha eps - sigma_t x0`` of one state give x0 back, in z = alpha x0 + sigma_t eps."""
    schedule = VPSchedule.of_rates(scaled_linear(0.00085, 0.012, 1000))
    sigma = schedule.levels[[0, 5, 300, 999]][:, None]
    alpha, x0, eps = 1 / (1 + sigma**2).sqrt(), normal(4, 3), normal(4, 3, seed=1)
    noise = sigma * alpha
    z, v = alpha * x0 + noise * eps, alpha * eps - noise * x0
    for scaling, raw in ((EpsilonScaling(schedule), eps), (VelocityScaling(schedule), v)):
        close(scaling.c_in(sigma) * (x0 + sigma * eps), z, 1e-14)
        close(scaling.c_skip(sigma) * z / alpha + scaling.c_out(sigma) * raw, x0, 1e-12)


def guided_method(pd: ModuleType, w: float | None, first: int = 4) -> Any:
    """PD on a guided teacher of two Gaussians of one spread."""
    teacher, context = guided_teacher(conditional([0.4, -0.2], [S, S]), w)
    return pd.ProgressiveDistillation(teacher, pd.PDConfig(first=first), context)


def check_strength_zero_is_unguided(pd: ModuleType) -> None:
    """Rows of w = 0 have the targets of the conditional model; the others those of the guided Gaussian."""
    x, (a, b, c) = 5.0 * normal(4, 1), levels(5.0, 2.0, 0.7, count=4)
    strengths = [0.0, 1.5, 0.0, 4.0]
    found = guided_method(pd, None).target(pd.State(x, a, b, c, labelled(4, w=strengths)))
    plain = method_for(pd, Gaussian(0.4, S)).target(pd.State(x, a, b, c, Cond()))
    fixed = guided_method(pd, 0.0).target(pd.State(x, a, b, c, labelled(4)))
    assert torch.equal(found[[0, 2]], fixed[[0, 2]])
    close(fixed, plain, 1e-14)
    for row, w in enumerate(strengths):
        guided = method_for(pd, Gaussian((1 + w) * 0.4 + w * 0.2, S))
        close(found[row : row + 1], guided.target(pd.State(x, a, b, c, Cond()))[row : row + 1], 1e-13)


def check_only_the_first_teacher_is_guided(pd: ModuleType) -> None:
    """Only the first stage asks the guided teacher; later ones its student, which has guidance within."""
    method = guided_method(pd, 3.0)
    x, (a, b, c) = 5.0 * normal(2, 1), levels(5.0, 2.0, 0.7, count=2)
    state = pd.State(x, a, b, c, labelled(2))
    close(
        method.target(state),
        method_for(pd, Gaussian(4 * 0.4 + 3 * 0.2, S)).target(pd.State(x, a, b, c, Cond())),
        1e-13,
    )
    assert isinstance(method.student.plain.scaling, EDMScaling)
    method.stage = 1
    method.previous.plain = Gaussian(-1.0, S)
    close(
        method.target(state),
        method_for(pd, Gaussian(-1.0, S)).target(pd.State(x, a, b, c, Cond())),
        1e-14,
    )


PROPERTIES = [function for name, function in list(globals().items()) if name.startswith("check_")]
