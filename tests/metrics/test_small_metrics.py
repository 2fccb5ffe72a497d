"""KID, Inception Score and FID-infinity: against torch-fidelity and definitions, on features made by hand."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from metrics.fid_infinity import frechet_infinity
from metrics.inception_score import inception_score
from metrics.kid import kernel_distance
from metrics.moments import Moments


def cloud(seed, rows=300, dimension=16, shift=0.0):
    return np.random.default_rng(seed).standard_normal((rows, dimension)) + shift


def test_kernel_distance_of_float32_features_is_that_of_torch_fidelity():
    real, fake = (cloud(seed, shift=shift).astype(np.float32) for seed, shift in ((0, 0.0), (1, 0.3)))
    ours = kernel_distance(real=real, fake=fake, subsets=20, subset_size=100)
    theirs = kid_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), kid_subsets=20, kid_subset_size=100, verbose=False
    )
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)
    assert ours.mean > 0.05 and ours[2:] == (20, 100, 2020)


def test_kernel_distance_is_the_unbiased_estimate_of_its_definition():
    x, y = cloud(2, 40), cloud(3, 40, shift=0.5)

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    off = ~np.eye(40, dtype=bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean()
    found = kernel_distance(real=x, fake=y, subsets=1, subset_size=40)
    assert found.mean == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_of_equal_laws_is_zero_within_its_noise():
    draws = [
        kernel_distance(real=cloud(2 * i), fake=cloud(2 * i + 1), subsets=1, subset_size=300)
        for i in range(30)
    ]
    means = np.array([draw.mean for draw in draws])
    assert abs(means.mean()) < 3 * means.std() / 30**0.5 and means.min() < 0 < means.max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subset_size": 301}, "no larger than either set"),
        ({"subset_size": 1}, "2 rows or more"),
        ({"subsets": 0, "subset_size": 10}, "0 subsets"),
    ],
)
def test_impossible_subsets_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(real=cloud(0), fake=cloud(1), **settings)


def test_kernel_distance_refuses_bad_features():
    with pytest.raises(ValueError, match="real has 16 columns and fake has 4"):
        kernel_distance(real=cloud(0), fake=cloud(1, dimension=4))
    with pytest.raises(ValueError, match="fake: 300 of 300 rows"):
        kernel_distance(real=cloud(0), fake=cloud(1) * np.nan)


@pytest.mark.parametrize("seed", [2020, 7])
def test_inception_score_is_that_of_torch_fidelity(seed):
    logits = cloud(4, 500, 10) * 3
    ours = inception_score(logits, splits=5, shuffle_seed=seed)
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=5, shuffle=True, rng_seed=seed)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-10)
    assert ours.mean > 2 and ours[2:] == (5, seed)


def test_inception_score_in_order_is_its_definition():
    logits = cloud(5, 60, 10) * 3
    scores = []
    for part in np.split(softmax(logits, axis=1), 3):
        scores.append(np.exp((part * np.log(part / part.mean(axis=0))).sum(axis=1).mean()))
    found = inception_score(logits, splits=3, shuffle_seed=None)
    assert found.mean == pytest.approx(np.mean(scores), rel=1e-10)
    assert found.std == pytest.approx(np.std(scores), rel=1e-10)
    assert found != inception_score(logits, splits=3)


def test_inception_score_ends():
    assert inception_score(np.zeros((50, 10)), splits=5).mean == pytest.approx(1)
    assert inception_score(np.tile(1e3 * np.eye(10), (5, 1)), splits=1).mean == pytest.approx(10)


def test_inception_score_refuses_what_it_cannot_split():
    with pytest.raises(ValueError, match="10 splits of 4 rows"):
        inception_score(cloud(0, 4))
    with pytest.raises(ValueError, match=r"expected a non-empty matrix \[N, d\]"):
        inception_score(np.zeros((0, 10)))


def test_infinity_lies_nearer_the_truth_than_the_whole_set():
    """Equal laws: the truth is the distance of the reference from that law, here nearly nought."""
    reference = Moments.of(cloud(6, 200_000, 32))
    found = [
        frechet_infinity(cloud(seed, 1500, 32), reference, np.random.default_rng(seed)) for seed in range(5)
    ]
    whole = np.mean([line.distances[-1] for line in found])
    assert abs(np.mean([line.value for line in found])) < 0.25 * whole
    assert all(line.slope > 0 and line.counts[-1] == 1500 and len(line.counts) == 15 for line in found)


def test_infinity_depends_on_the_generator_alone():
    reference, fake = Moments.of(cloud(7, 1000, 8)), cloud(8, 400, 8)
    first, again = (frechet_infinity(fake, reference, np.random.default_rng(3)) for _ in range(2))
    assert first == again != frechet_infinity(fake, reference, np.random.default_rng(4))


@pytest.mark.parametrize("settings", [{"points": 2}, {"smallest": 8}, {"smallest": 400}])
def test_infinity_refuses_lines_without_points(settings):
    with pytest.raises(ValueError, match="expected 3 or more"):
        frechet_infinity(
            cloud(8, 400, 8), Moments.of(cloud(7, 1000, 8)), np.random.default_rng(0), **settings
        )
