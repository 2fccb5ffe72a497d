"""Latents to images as EDM2 does it: mean and deviation undone, pixels of [0, 1], cut off."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.datasets.stored_latents import LatentScale
from baselines.teachers.autoencoder import LatentDecoder, load_latent_decoder
from metrics.samples.preparation import to_uint8


class Seen(nn.Module):
    """An autoencoder that keeps what it was given and answers with fixed pixels."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.pixels, self.raw = pixels, torch.empty(0)

    def decode(self, raw: Tensor) -> SimpleNamespace:
        self.raw = raw
        return SimpleNamespace(sample=self.pixels)


def test_raw_latents_come_back() -> None:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((2, 4, 3, 3)).astype(np.float32) * 4 + 3
    autoencoder = Seen(torch.zeros(2, 3, 3, 3))
    LatentDecoder(autoencoder, LatentScale())(torch.from_numpy(LatentScale()(raw)))
    torch.testing.assert_close(autoencoder.raw, torch.from_numpy(raw), atol=1e-5, rtol=1e-5)


def test_pixels_are_those_of_edm2() -> None:
    """Theirs: ``x.clamp(0, 1).mul(255).to(uint8)``; a decoder taken to give [-1, 1] would be grey."""
    pixels = torch.linspace(-0.2, 1.2, 3 * 64).reshape(1, 3, 8, 8)
    x = LatentDecoder(Seen(pixels), LatentScale())(torch.zeros(1, 4, 1, 1))
    ours = to_uint8(x.numpy(), "truncate").astype(int)
    theirs = pixels.clamp(0, 1).mul(255).to(torch.uint8).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 0.02  # fp32 at whole numbers
    assert ours.min() == 0 and ours.max() == 255


def test_a_folder_without_an_autoencoder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    with pytest.raises(ValueError, match="no diffusers autoencoder in safetensors"):
        load_latent_decoder(tmp_path)
