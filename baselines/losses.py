"""Losses shared by methods: pure functions, tensors in, tensors out."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

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


def dmd_gradient(x_g: Tensor, mu_real: Tensor, mu_fake: Tensor) -> Tensor:
    """DMD's gradient in x_g ``[B, ...]``: ``(mu_fake - mu_real) / mean |x_g - mu_real|``, mean per sample.

    Carries no graph. Entries that are not finite (the mean is 0) become 0; the released code makes infinities
    the largest float, which destroys the whole batch. Source: DMD (Yin et al., 2024) algorithm 2.
    """
    scale = per_sample(pixel_mean((x_g - mu_real).abs()), x_g)
    return ((mu_fake - mu_real) / scale).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).detach()


def injected_gradient(x_g: Tensor, gradient: Tensor) -> Tensor:
    """Scalar ``mean (x_g - sg(x_g - gradient))^2 / 2``; its derivative in x_g is ``gradient / numel``."""
    return (x_g - (x_g - gradient).detach()).square().mean() / 2


def gan_generator_loss(logits: Tensor) -> Tensor:
    """Non-saturating loss ``softplus(-l)`` of generated samples, ``[B] -> [B]``."""
    return softplus(-logits)


def gan_critic_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """``softplus(l_fake) + softplus(-l_real)``, ``[B] -> [B]``; least at ``l = ln p_real - ln p_fake``."""
    return softplus(fake_logits) + softplus(-real_logits)
