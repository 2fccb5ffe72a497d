"""EDM's augmentation: laws of the draws, and maps that are known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines.datasets.augment import LABELS, Augmentation, rotation, scaling, translation, warp


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(side: int, turn: float = 0.0, shift: float = 0.0, zoom: float = 1.0) -> Tensor:
    """A smooth blob off the centre, moved in closed form."""
    axis = torch.arange(side) - (side - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = (x - shift) / zoom, y / zoom
    x, y = x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn)
    return torch.exp(-((x - 3) ** 2 + y**2) / 8)[None, None]


def test_without_luck_only_mirrored() -> None:
    images = torch.randn(200, 3, 8, 8, generator=generator())
    out, labels = Augmentation(probability=0.0)(images, generator())
    assert labels.shape == (200, LABELS) and not labels[:, 1:].any()
    assert labels[:, 0].mean().item() == pytest.approx(0.5, abs=0.1)
    expected = torch.where(labels[:, 0, None, None, None] == 1, images.flip(3), images)
    # the filters reproduce an image up to the highest frequencies
    assert (out - expected).square().mean().sqrt() < 0.2 * images.square().mean().sqrt()


def test_smooth_images_survive_the_filters() -> None:
    one = torch.ones(1)
    torch.testing.assert_close(warp(smooth(20), scaling(one, one)), smooth(20), atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("inverse", "moved"),
    [
        (rotation(torch.tensor([-0.7])), smooth(24, turn=0.7)),
        (translation(torch.tensor([-2.5]), torch.tensor([0.0])), smooth(24, shift=2.5)),
        (scaling(torch.tensor([1 / 1.3]), torch.tensor([1 / 1.3])), smooth(24, zoom=1.3)),
    ],
    ids=["turn", "shift", "zoom"],
)
def test_maps_move_the_image(inverse: Tensor, moved: Tensor) -> None:
    found = warp(smooth(24), inverse)
    inside = (..., slice(3, -3), slice(3, -3))  # the corners show the continued border
    torch.testing.assert_close(found[inside], moved[inside], atol=0.02, rtol=0)


def test_labels_follow_their_laws() -> None:
    images = torch.zeros(4000, 1, 4, 4)
    _, labels = Augmentation(probability=0.5)(images, generator(1))
    made = (labels[:, 2] != 0).float().mean().item()
    assert made == pytest.approx(0.5, abs=0.04)
    assert labels[labels[:, 2] != 0, 2].std().item() == pytest.approx(1, abs=0.08)
    on_circle = (labels[:, 3] + 1) ** 2 + labels[:, 4] ** 2
    torch.testing.assert_close(on_circle, torch.ones(4000))
    along_x = labels[labels[:, 5] != 0]
    assert (along_x[:, 6] == 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert ((labels[:, 7] == 0) == (labels[:, 8] == 0)).all()


def test_colours_and_ranges_are_left_alone() -> None:
    """A constant image stays constant: filters have unit sum and borders are continued."""
    out, _ = Augmentation(probability=1.0)(torch.full((8, 3, 16, 16), 0.7), generator(2))
    torch.testing.assert_close(out[..., 4:-4, 4:-4], torch.full((8, 3, 8, 8), 0.7), atol=0.02, rtol=0)


def test_one_seed_one_result() -> None:
    images = torch.randn(6, 3, 8, 8, generator=generator())
    first, second = (Augmentation()(images, generator(3)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], Augmentation()(images, generator(4))[0])
