"""Precision and recall: roles, collapse and coverage, against a direct implementation."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from metrics.prdc import precision_recall


def cloud(seed, rows=400, dimension=8):
    return np.random.default_rng(seed).standard_normal((rows, dimension))


def directly(real, fake, k):
    def covered(points, manifold):
        radius = np.sort(cdist(manifold, manifold), axis=1)[:, k]
        return (cdist(points, manifold) <= radius).any(axis=1).mean()

    return covered(fake, real), covered(real, fake)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_definition_across_blocks(k):
    real, fake = cloud(0, 1300), 1.3 * cloud(1, 1100)
    found = precision_recall(real=real, fake=fake, k=k)
    assert found[:2] == pytest.approx(directly(real, fake, k), abs=1e-6)
    assert found[2:] == (k, 1300, 1100)


def test_a_collapsed_generator_keeps_precision_and_loses_recall():
    real = cloud(2)
    fake = real[:1] + 1e-3 * cloud(3)
    precision, recall, *_ = precision_recall(real=real, fake=fake)
    assert precision > 0.95 and recall < 0.02


def test_an_overdispersed_generator_keeps_recall_and_loses_precision():
    precision, recall, *_ = precision_recall(real=cloud(4), fake=4 * cloud(5))
    assert precision < 0.2 and recall > 0.9


def test_equal_laws_score_high_on_both():
    precision, recall, *_ = precision_recall(real=cloud(6), fake=cloud(7))
    assert precision > 0.7 and recall > 0.7


def test_identical_points_have_no_radius():
    found = precision_recall(real=cloud(8), fake=np.ones((50, 8)))
    assert found.recall == 0


def test_bad_sets_are_refused():
    with pytest.raises(ValueError, match="expected more than k of each"):
        precision_recall(real=cloud(0), fake=cloud(1, 3))
    with pytest.raises(ValueError, match="real has 8 columns and fake has 4"):
        precision_recall(real=cloud(0), fake=cloud(1, 9, 4))
    with pytest.raises(ValueError, match="fake: 1 of 9 rows"):
        precision_recall(real=cloud(0), fake=np.where(np.arange(9)[:, None] == 4, np.nan, cloud(1, 9)))
