"""Samplers of the probability-flow ODE. One signature: ``(denoiser, x, sigmas, cond) -> x0``.

``sigmas`` descends to 0 and comes from outside; ``x`` already has the scale of ``sigmas[0]``. State is kept
in fp64 as in EDM; the network sees the dtype of ``x``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample

Denoise = Callable[[Tensor, Tensor | float, Cond | None], Tensor]
Sampler = Callable[[Denoise, Tensor, Tensor, Cond | None], Tensor]


def ddim_step(x: Tensor, x0_hat: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """x at ``sigma_next [B]`` from an estimate at ``sigma [B]``: one first-order step of the flow."""
    return x0_hat + per_sample(sigma_next / sigma, x) * (x - x0_hat)


def euler_step(
    denoiser: Denoise, x: Tensor, upper: Tensor, lower: Tensor, cond: Cond | None = None
) -> Tensor:
    """From level ``upper [B]`` to ``lower [B]`` by one first-order step (DDIM): one evaluation."""
    return ddim_step(x, denoiser(x, upper, cond), upper, lower)


def heun_step(denoiser: Denoise, x: Tensor, upper: Tensor, lower: Tensor, cond: Cond | None = None) -> Tensor:
    """From ``upper [B]`` to ``lower [B] > 0`` by one second-order step: two evaluations."""
    slope = (x - denoiser(x, upper, cond)) / per_sample(upper, x)
    proposal = x + per_sample(lower - upper, x) * slope
    slope_there = (proposal - denoiser(proposal, lower, cond)) / per_sample(lower, x)
    return x + per_sample(lower - upper, x) * (slope + slope_there) / 2


STEPS: dict[str, Callable[..., Tensor]] = {"euler": euler_step, "heun": heun_step}


def euler(denoiser: Denoise, x: Tensor, sigmas: Tensor, cond: Cond | None = None) -> Tensor:
    """First order (DDIM): one evaluation a step."""
    dtype, state = x.dtype, x.double()
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        x0 = denoiser(state.to(dtype), sigma, cond).double()
        state = x0 + (sigma_next / sigma) * (state - x0)
    return state.to(dtype)


def heun(denoiser: Denoise, x: Tensor, sigmas: Tensor, cond: Cond | None = None) -> Tensor:
    """EDM's deterministic second-order sampler (algorithm 1): two evaluations a step, one in the last."""
    dtype, state = x.dtype, x.double()
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        slope = (state - denoiser(state.to(dtype), sigma, cond).double()) / sigma
        proposal = state + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope_next = (proposal - denoiser(proposal.to(dtype), sigma_next, cond).double()) / sigma_next
            proposal = state + (sigma_next - sigma) * (slope + slope_next) / 2
        state = proposal
    return state.to(dtype)


def dpmpp_2m(denoiser: Denoise, x: Tensor, sigmas: Tensor, cond: Cond | None = None) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., 2022) in sigma: multistep second order, one evaluation a step."""
    dtype, state = x.dtype, x.double()
    levels = sigmas.double()
    previous: Tensor | None = None
    for i in range(len(levels) - 1):
        sigma, sigma_next = float(levels[i]), float(levels[i + 1])
        x0 = denoiser(state.to(dtype), sigma, cond).double()
        estimate = x0
        if previous is not None and sigma_next > 0:
            # lambda = -ln sigma; ratio of the last step to this one
            ratio = float((levels[i - 1] / levels[i]).log() / (levels[i] / levels[i + 1]).log())
            estimate = x0 + (x0 - previous) / (2 * ratio)
        state = estimate + (sigma_next / sigma) * (state - estimate)
        previous = x0
    return state.to(dtype)


SOLVERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def solver_nfe(name: str, steps: int) -> int:
    """Evaluations of ``steps`` steps on a grid that ends at 0."""
    return 2 * steps - 1 if name == "heun" else steps
