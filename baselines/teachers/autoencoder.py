"""Stable Diffusion's autoencoder, between a network's latents and images: as diffusers and as EDM2 use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.stored_latents import LatentScale

LARGE = 1024  # pixels of a side


class LatentDecoder:
    """Images in [-1, 1] from latents that a network sees.

    EDM2 gives its autoencoder pixels in [0, 1], not in [-1, 1], so what it decodes lies in [0, 1] too
    (``training/encoders.py``); here that is stretched to the house's range.

    Args:
        autoencoder: diffusers' ``AutoencoderKL``; scale: of the latents.
    """

    def __init__(self, autoencoder: Any, scale: LatentScale) -> None:
        self.autoencoder = autoencoder
        self.deviation = np.array(scale.raw_std, np.float32) / np.float32(scale.std)
        self.mean = np.array(scale.raw_mean, np.float32)

    def __call__(self, latents: Tensor) -> Tensor:
        """fp32 ``[N, 3, 8H, 8W]`` of ``[N, C, H, W]``, on the autoencoder's device."""
        place = next(self.autoencoder.parameters()).device
        raw = latents.float().to(place) * self._channels(self.deviation, place)
        with torch.no_grad():
            pixels = self.autoencoder.decode(raw + self._channels(self.mean, place)).sample
        return pixels.clamp(0, 1) * 2 - 1

    @staticmethod
    def _channels(values: np.ndarray, place: torch.device) -> Tensor:
        return torch.from_numpy(values).to(place)[:, None, None]


class ScaledLatents:
    """Images in [-1, 1] and the latents that a text-to-image network sees: the autoencoder's times a factor.

    Args:
        autoencoder: diffusers' ``AutoencoderKL``; its config has the factor.
        side: of the latents. Pictures of ``LARGE`` pixels or more that are larger than the autoencoder's own
            are decoded in tiles of that size; those that are not larger are one tile, so nothing changes.
    """

    def __init__(self, autoencoder: Any, side: int = 0) -> None:
        self.autoencoder = autoencoder
        self.autoencoder.enable_slicing()  # one image at a time: decoding takes more memory than sampling
        if side * self.stride >= LARGE:
            self.autoencoder.enable_tiling()
        self.factor = float(autoencoder.config.scaling_factor)

    @property
    def stride(self) -> int:
        """Pixels to a latent, along one side."""
        return int(2 ** (len(self.autoencoder.config.block_out_channels) - 1))

    def decode(self, latents: Tensor) -> Tensor:
        """fp32 ``[N, 3, fH, fW]`` of ``[N, C, H, W]``, cut to [-1, 1], on the autoencoder's device."""
        with torch.no_grad():
            raw = latents.float().to(next(self.autoencoder.parameters()).device) / self.factor
            return self.autoencoder.decode(raw).sample.clamp(-1, 1)

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """fp32 ``[N, C, H, W]`` of images ``[N, 3, fH, fW]``: the mean, or a draw for unit noise."""
        place = next(self.autoencoder.parameters()).device
        with torch.no_grad():
            law = self.autoencoder.encode(images.float().to(place)).latent_dist
            return self.factor * (law.mean if noise is None else law.mean + law.std * noise.to(place))


def load_autoencoder(folder: Path, device: str = "cpu") -> Any:
    """Diffusers' ``AutoencoderKL`` of a folder, fp32, frozen, from safetensors only; opens no socket.

    Raises:
        ValueError: diffusers is not installed, or no autoencoder is in the folder.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ValueError(
            "latents are decoded by diffusers, which is not installed; pip install 'distillbench[text]'"
        ) from error
    try:
        autoencoder = AutoencoderKL.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, torch_dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}: no diffusers autoencoder in safetensors ({reason})") from error
    return autoencoder.eval().requires_grad_(False).to(device)


def load_latent_decoder(folder: Path, device: str = "cpu") -> LatentDecoder:
    """EDM2's decoder from a diffusers folder (``sd-vae-ft-mse``); see ``load_autoencoder``.

    Raises:
        ValueError: no autoencoder for these latents is in the folder.
    """
    autoencoder = load_autoencoder(folder, device)
    scale, found = LatentScale(), autoencoder.config.latent_channels
    if found != len(scale.raw_mean):
        raise ValueError(f"{folder}: {found} latent channels, expected {len(scale.raw_mean)}")
    return LatentDecoder(autoencoder, scale)
