"""Losses shared by methods: pure functions, tensors in, tensors out."""

from __future__ import annotations

from torch import Tensor

from baselines.diffusion.denoiser import per_sample
from baselines.diffusion.noise import edm_weight


def pixel_mean(values: Tensor) -> Tensor:
    """Mean over all axes but the batch: ``[B, ...] -> [B]``."""
    return values.flatten(1).mean(1)


def pixel_sum(values: Tensor) -> Tensor:
    """Sum over all axes but the batch: ``[B, ...] -> [B]``."""
    return values.flatten(1).sum(1)


def denoising_loss(x0_hat: Tensor, x0: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """EDM-weighted squared error, per pixel and element: ``lambda(sigma) (x0_hat - x0)^2``, ``[B, ...]``."""
    return per_sample(edm_weight(sigma, sigma_data), x0) * (x0_hat - x0) ** 2


def truncated_snr_weight(sigma: Tensor) -> Tensor:
    """``max(1 / sigma^2, 1)`` (Salimans and Ho, 2022), ``[B]``."""
    return (1 / sigma**2).clamp(min=1)
