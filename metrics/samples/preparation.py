"""What happens to pixels before an extractor sees them: rounding of floats, crop, resize, by the protocol."""

from __future__ import annotations

import numpy as np
from PIL import Image

from metrics.protocols.record import Pixels

CENTRE = 299  # side of the centre crop of patch FID
SHIFT = {"half-up": 128.0, "truncate": 127.5}


def to_uint8(x: np.ndarray, rounding: str) -> np.ndarray:
    """Grey levels of x in [-1, 1]: ``floor(127.5 x + s)``, clipped; s is 128 (half-up), 127.5 (truncate)."""
    return np.clip(np.floor(x.astype(np.float64) * 127.5 + SHIFT[rounding]), 0, 255).astype(np.uint8)


def changes(pixels: Pixels) -> bool:
    """Whether a protocol crops or resizes."""
    return pixels.crop != "none" or pixels.resize is not None


def prepared(image: Image.Image, pixels: Pixels) -> Image.Image:
    """Crop and resize of one image, in uint8 (Pillow)."""
    if pixels.crop == "centre-square":
        image = centre(image, min(image.size))
    elif pixels.crop == "centre-299" and min(image.size) >= CENTRE:
        image = centre(image, CENTRE)
    if pixels.resize is not None:
        image = image.resize((pixels.resize, pixels.resize), Image.Resampling.LANCZOS)
    return image


def prepared_planes(image: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The same of planes: uint8 ``[C, H, W]``."""
    if not changes(pixels):
        return image
    planes = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return as_planes(prepared(Image.fromarray(np.ascontiguousarray(planes)), pixels))


def centre(image: Image.Image, side: int) -> Image.Image:
    """The central square; where it cannot be central its corner is rounded half to even, as torchvision's."""
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def as_planes(image: Image.Image) -> np.ndarray:
    """uint8 ``[C, H, W]``."""
    array = np.asarray(image)
    return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
