"""The denoiser of EDM2: its network, EDM's scaling, and the learnt uncertainty of its loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.diffusion.denoiser import Denoiser, Scaling, per_sample
from baselines.networks.magnitude import MPConv, MPFourier, initialise_mp, normalise_weights


class EDM2Denoiser(Denoiser):
    """Denoiser with the published names: ``unet.*``, ``logvar_fourier.*``, ``logvar_linear.*``.

    Args:
        unet: raw network; scaling: EDM's; body: precision inside the network, or None.
        uncertainty_channels: Fourier features of the uncertainty.
    """

    def __init__(
        self,
        unet: nn.Module,
        scaling: Scaling,
        body: torch.dtype | None = None,
        uncertainty_channels: int = 128,
    ) -> None:
        nn.Module.__init__(self)
        self.scaling, self.body = scaling, body
        self.unet = unet
        self.logvar_fourier = MPFourier(uncertainty_channels)
        self.logvar_linear = MPConv(uncertainty_channels, 1, 0)

    @property
    def model(self) -> nn.Module:  # type: ignore[override]
        """The raw network."""
        return self.unet

    def rescaled(self, scaling: Scaling) -> EDM2Denoiser:
        """The same network and uncertainty under another scaling."""
        other = EDM2Denoiser(self.unet, scaling, self.body, len(self.logvar_fourier.freqs))
        other.logvar_fourier, other.logvar_linear = self.logvar_fourier, self.logvar_linear
        return other

    def normalise_weights(self) -> None:
        """Put all weights back on the unit sphere; to be called after each update (EDM2, section 2.3)."""
        normalise_weights(self)

    def initialise(self, generator: torch.Generator) -> EDM2Denoiser:
        """Fill all parameters from one generator; returns self."""
        initialise_mp(self, generator)
        return self

    def log_variance(self, sigma: Tensor) -> Tensor:
        """Learnt logarithm of the loss at ``sigma [B]``, ``[B]`` (equation 21)."""
        return self.logvar_linear(self.logvar_fourier(self.scaling.c_noise(sigma))).flatten()


def uncertain_loss(loss: Tensor, log_variance: Tensor) -> Tensor:
    """``loss / u + ln u`` per element of ``loss [B, ...]``, with ``ln u [B]`` (EDM2, equation 15)."""
    log_variance = per_sample(log_variance, loss)
    return loss / log_variance.exp() + log_variance
