"""Nearest-training-image distance: exact, and able to tell a copier from an honest generator."""

import numpy as np
import pytest

from metrics.nearest import memorisation, nearest_distance


def pictures(seed, count):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def test_equals_the_definition_across_blocks():
    images, train = pictures(0, 1050), pictures(1, 60)
    gaps = images[:, None].astype(float) / 255 - train[None].astype(float) / 255
    expected = np.sqrt((gaps**2).mean(axis=(2, 3, 4))).min(axis=1)
    np.testing.assert_allclose(nearest_distance(images, train), expected, rtol=1e-12)


def test_units_are_root_mean_square_of_unit_pixels():
    black, white = np.zeros((1, 1, 8, 8), np.uint8), np.full((1, 1, 8, 8), 255, np.uint8)
    assert nearest_distance(white, black) == pytest.approx(1.0)
    assert nearest_distance(white, np.concatenate([black, white])) == 0


def test_a_copier_is_caught_and_an_honest_generator_is_not():
    train, held_out = pictures(2, 300), pictures(3, 300)
    copier = memorisation(fake=train[:100], train=train, held_out=held_out)
    assert copier.copies == 1 and copier.fake_to_train == 0 < copier.held_out_to_train
    honest = memorisation(fake=pictures(4, 2000), train=train, held_out=held_out)
    assert honest.copies == pytest.approx(0.01, abs=0.015)
    assert honest.fake_to_train == pytest.approx(honest.held_out_to_train, rel=0.02)
    half = memorisation(fake=np.concatenate([train[:100], pictures(5, 100)]), train=train, held_out=held_out)
    assert half.copies == pytest.approx(0.5, abs=0.03)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match="images: expected uint8 images"):
        nearest_distance(np.zeros((2, 1, 8, 8)), pictures(0, 2))
    with pytest.raises(ValueError, match=r"images are \[1, 8, 8\] and train \[64, 1, 1\]"):
        nearest_distance(pictures(0, 2), pictures(0, 2).reshape(2, 64, 1, 1))
