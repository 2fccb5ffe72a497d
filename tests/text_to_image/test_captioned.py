"""Batches of captioned pictures as methods see them: latents with conditions, fixed by seed and iteration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny_pipeline import CAPTIONS, CONTEXT, SIDE, WIDTH

from baselines.datasets.images import to_model
from baselines.diffusion.guidance import FixedStrength, UniformStrength
from baselines.streams import numpy_generator, torch_generator
from baselines.teachers.captioned import SOURCES, Captioned, CaptionedLatents
from baselines.teachers.stable_diffusion import TextTeacher


class Pictures:
    """Noise with captions; counts how often pictures are asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def batch(self, seed: int, iteration: int, size: int) -> Captioned:
        self.asked += 1
        rng = numpy_generator(seed, "data", iteration)
        images = rng.integers(0, 256, (size, 3, 2 * SIDE, 2 * SIDE), dtype=np.uint8)
        return Captioned(images, self.captions(seed, iteration, size))

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        return [CAPTIONS[(iteration + i) % len(CAPTIONS)] for i in range(size)]


@pytest.fixture
def latents(teacher: TextTeacher) -> CaptionedLatents:
    return CaptionedLatents(teacher, Pictures(), UniformStrength(2.0, 8.0))


def test_batches_are_latents_with_captions_and_strengths(latents: CaptionedLatents) -> None:
    x0, cond = latents.draw(3, 5, 4)
    images, captions = Pictures().batch(3, 5, 4)
    assert images is not None
    noise = torch.randn(4, 4, SIDE, SIDE, generator=torch_generator(3, "data", 5))
    assert torch.equal(x0, latents.model.latents.encode(to_model(images), noise))
    assert torch.equal(cond.text, latents.model.text(captions).text) and cond.text.shape == (
        4,
        CONTEXT,
        WIDTH,
    )
    assert cond.w is not None and cond.w.unique().numel() == 4 and 2 <= cond.w.min() <= cond.w.max() <= 8


def test_a_batch_is_the_same_again_and_another_one_is_not(latents: CaptionedLatents) -> None:
    first, again, other = (latents.draw(0, i, 4) for i in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1].w, again[1].w)
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1].w, other[1].w)


def test_data_free_methods_get_the_same_conditions_and_no_pictures(latents: CaptionedLatents) -> None:
    empty, cond = latents.draw_conditions(0, 1, 4)
    assert latents.source.asked == 0 and empty.shape == (4, 0)
    expected = latents.draw(0, 1, 4)[1]
    assert torch.equal(cond.text, expected.text) and torch.equal(cond.w, expected.w)


def test_the_drawn_world_is_a_source() -> None:
    images, captions = SOURCES["shapes"].batch(3, 2, 4)
    assert images is not None and images.shape == (4, 3, 32, 32) and images.dtype == np.uint8
    assert SOURCES["shapes"].captions(3, 2, 4) == captions and len(set(captions)) > 1
    assert SOURCES["shapes"].captions(4, 2, 4) != captions


def test_a_fixed_strength_is_not_told(teacher: TextTeacher) -> None:
    assert CaptionedLatents(teacher, Pictures(), FixedStrength(4.0)).draw(0, 0, 2)[1].w is None
    assert teacher.condition(CAPTIONS[:2], 3.0).w.tolist() == [3.0, 3.0]
