"""EDM's augmentation of training images: flips and band-limited affine maps, told to the network as labels.

Source: EDM (Karras et al., 2022) appendix F.2, table 6; resampling with the sym6 wavelet as in Karras et al.
(2020), appendix B. The network learns the augmented images under their labels and samples with none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LABELS = 9
# the low-pass filter of the sym6 wavelet (Daubechies' least asymmetric, six vanishing moments)
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
REACH = len(SYM6) // 4  # of the filter, in pixels before upsampling


@dataclass(frozen=True)
class Augmentation:
    """Six random changes of an image; each but the x-flip is made with a probability.

    Attributes:
        probability: EDM's option ``--augment`` (0.12 CIFAR-10, 0.15 the 64 x 64 sets).
        scale_std, aniso_std: log2 standard deviations of zoom and stretch.
        translate_std: standard deviation of shifts, in image sides.
        stretch_turned: probability that a stretch has a random direction (else it is along x).
    """

    probability: float = 0.12
    scale_std: float = 0.2
    aniso_std: float = 0.2
    translate_std: float = 0.125
    stretch_turned: float = 0.5

    def __call__(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels ``[B, 9]``; all zero labels stand for a clean image.

        Images are ``[B, C, H, W]`` of any range. How far borders are continued before an affine map is common
        to the batch, so pixels near them depend a little on it, as in the published training.
        """
        flips = [self._coin(len(images), generator, chance) for chance in (1.0, self.probability)]
        for axis, flip in zip((3, 2), flips, strict=True):
            images = torch.where(flip[:, None, None, None] == 1, images.flip(axis), images)
        inverse, labels = self._affine(images, generator)
        return warp(images, inverse), torch.stack([*flips, *labels], dim=1)

    def _coin(self, count: int, generator: torch.Generator, probability: float) -> Tensor:
        coin = torch.randint(2, (count,), generator=generator, device=generator.device)
        return self._gate(coin.float(), generator, probability)

    def _gate(self, values: Tensor, generator: torch.Generator, probability: float) -> Tensor:
        """Values ``[..., B]``, or 0 where the change is not made."""
        luck = torch.rand(values.shape[-1], generator=generator, device=generator.device)
        return torch.where(luck < probability, values, 0.0)

    def _affine(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        """Maps from output to input positions ``[B, 3, 3]`` (pixels from the centre), and seven labels."""
        count, _, height, width = images.shape

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=generator.device)

        def angle() -> Tensor:
            return (torch.rand(count, generator=generator, device=generator.device) * 2 - 1) * math.pi

        zoom = self._gate(normal(count), generator, self.probability)
        turn = self._gate(angle(), generator, self.probability)
        stretch, direction = normal(count), angle()
        stretch = self._gate(stretch, generator, self.probability)
        direction = self._gate(direction, generator, self.stretch_turned)
        shift = self._gate(normal(2, count), generator, self.probability)
        smaller, thinner = (-zoom * self.scale_std).exp2(), (-stretch * self.aniso_std).exp2()
        inverse = scaling(smaller, smaller) @ rotation(turn)
        inverse = inverse @ rotation(-direction) @ scaling(thinner, 1 / thinner) @ rotation(direction)
        inverse = inverse @ translation(
            -shift[0] * width * self.translate_std, -shift[1] * height * self.translate_std
        )
        aniso = [stretch * direction.cos(), stretch * direction.sin()]
        return inverse, [zoom, turn.cos() - 1, turn.sin(), *aniso, shift[0], shift[1]]


def matrix(*entries: Tensor) -> Tensor:
    """``[B, 3, 3]`` from the six entries ``[B]`` of the upper rows."""
    zero, one = torch.zeros_like(entries[0]), torch.ones_like(entries[0])
    return torch.stack([*entries, zero, zero, one], dim=-1).unflatten(-1, (3, 3))


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Diagonal map ``[B, 3, 3]``."""
    zero = torch.zeros_like(x)
    return matrix(x, zero, zero, zero, y, zero)


def rotation(angle: Tensor) -> Tensor:
    """Turn by angles ``[B]`` in radians, ``[B, 3, 3]``."""
    zero = torch.zeros_like(angle)
    return matrix(angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Shift ``[B, 3, 3]``."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrix(one, zero, x, zero, one, y)


def margins(inverse: Tensor, height: int, width: int) -> list[int]:
    """Pixels by which the images must be continued: left, right, top, bottom (``F.pad``'s order)."""
    half = inverse.new_tensor([(width - 1) / 2, (height - 1) / 2])
    signs = inverse.new_tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    corners = (inverse[:, :2, :2] @ (signs * half).T + inverse[:, :2, 2:]).transpose(0, 1).flatten(1)
    reach = torch.stack([-corners, corners]).amax(2) + 2 * REACH - half  # [lower or upper, x or y]
    limits = inverse.new_tensor([width - 1, height - 1])
    return [int(side) for side in reach.clamp(min=0).minimum(limits).ceil().T.flatten().tolist()]


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Images at the positions that ``inverse [B, 3, 3]`` gives, sampled at twice the resolution with filters.

    Borders are continued by reflection, as far as the map reaches.
    """
    count, channels, height, width = images.shape
    left, right, top, bottom = margins(inverse, height, width)
    images = F.pad(images, [left, right, top, bottom], mode="reflect")
    one = inverse.new_ones(count)
    inverse = translation(one * (left - right) / 2, one * (top - bottom) / 2) @ inverse
    taps = torch.tensor(SYM6, dtype=images.dtype, device=images.device)
    column, row = (taps.reshape(shape).tile(channels, 1, 1, 1) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
    pad = len(SYM6) // 2 - 1
    images = F.conv_transpose2d(images, row, stride=(1, 2), padding=(0, pad), groups=channels)
    images = F.conv_transpose2d(images, column, stride=(2, 1), padding=(pad, 0), groups=channels)
    # positions at twice the resolution, whose pixel centres lie half a pixel off
    finer, coarser, half = scaling(one * 2, one * 2), scaling(one / 2, one / 2), one / 2
    inverse = translation(-half, -half) @ finer @ inverse @ coarser @ translation(half, half)
    size = [count, channels, 2 * (height + 2 * REACH), 2 * (width + 2 * REACH)]
    inverse = (
        scaling(one * 2 / images.shape[3], one * 2 / images.shape[2])
        @ inverse
        @ scaling(one * size[3] / 2, one * size[2] / 2)
    )
    grid = F.affine_grid(inverse[:, :2], size, align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    images = F.conv2d(images, row, stride=(1, 2), padding=(0, pad), groups=channels)
    images = F.conv2d(images, column, stride=(2, 1), padding=(pad, 0), groups=channels)
    return images[:, :, REACH:-REACH, REACH:-REACH]
