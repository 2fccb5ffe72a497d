"""Resize laws: how uint8 images reach the size that a feature network sees. A law is part of a protocol.

On images of 32 or 64 pixels two of these laws differ by tens of grey levels; changing the law changes the
number, so that each has a name, and each extractor states its own.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


class Resize(StrEnum):
    """Names of the laws; the value is what protocols and records hold."""

    NONE = "none"
    TF1_BILINEAR_299 = "tf1-bilinear-299"
    """TensorFlow 1's bilinear, float: no antialiasing, no half-pixel offset (torch-fidelity, NVIDIA)."""
    PIL_BICUBIC_299 = "pil-bicubic-299"
    """Pillow's bicubic with antialiasing, each channel in float, clipped to 0..255 (clean-fid "clean")."""
    TORCH_BICUBIC_224 = "torch-bicubic-antialias-224"
    """PyTorch's bicubic with antialiasing, float, not clipped (EDM2's FD-DINOv2)."""
    OPEN_CLIP = "open-clip-preprocess"
    """The transform that open_clip ships with the model: Pillow's bicubic, shorter side, centre crop."""


def tf1_bilinear(images: Tensor, size: int = 299) -> Tensor:
    """uint8 ``[B, C, H, W]`` to float32 ``[B, C, size, size]`` in 0..255, as TensorFlow 1 resizes.

    Written as two matrix products, one for each axis: faster than gathering four neighbours, and equal to
    float32 rounding.
    """
    rows = _tf1_matrix(images.shape[2], size).to(images.device)
    columns = _tf1_matrix(images.shape[3], size).to(images.device)
    return rows @ (images.float() @ columns.T)


@lru_cache(maxsize=16)
def _tf1_matrix(source: int, target: int) -> Tensor:
    """Weights ``[target, source]``: output i reads input at ``i * source / target``, held at the last pixel.

    Positions are float32, as in TensorFlow: the fractions depend on that rounding.
    """
    position = torch.arange(target, dtype=torch.float32) * torch.tensor(source / target, dtype=torch.float32)
    low = position.long()
    high = (low + 1).clamp(max=source - 1)
    share = position - low
    row = torch.arange(target)
    weights = torch.zeros(target, source)
    weights.index_put_((row, low), 1 - share, accumulate=True)
    weights.index_put_((row, high), share, accumulate=True)
    return weights


def pil_bicubic(images: Tensor, size: int = 299) -> Tensor:
    """uint8 ``[B, C, H, W]`` to float32 ``[B, C, size, size]`` in 0..255, as clean-fid resizes (Pillow, CPU).

    The result is not rounded to grey levels, which is the point of the law (Parmar et al., 2022).
    """
    planes = images.flatten(0, 1).cpu().float().numpy()
    resized = [
        np.asarray(Image.fromarray(plane).resize((size, size), resample=Image.Resampling.BICUBIC))
        for plane in planes
    ]
    pixels = torch.from_numpy(np.stack(resized)).clamp_(0, 255)
    return pixels.view(*images.shape[:2], size, size).to(images.device)


def torch_bicubic(images: Tensor, size: int = 224) -> Tensor:
    """uint8 ``[B, C, H, W]`` to float32 ``[B, C, size, size]``; antialiased, may leave 0..255 a little."""
    return F.interpolate(images.float(), size=(size, size), mode="bicubic", antialias=True)
