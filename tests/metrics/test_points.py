"""Distances between 2-D clouds against brute force, closed forms and scipy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from metrics.points import energy_distance, mode_coverage, sliced_wasserstein

laws = settings(max_examples=30, deadline=None)
counts = st.integers(1, 40)


def rng(seed=0):
    return np.random.default_rng(seed)


@laws
@given(counts, counts, st.integers(0, 10_000))
def test_one_dimension_equals_scipy_for_any_sizes(n, m, seed):
    x, y = rng(seed).standard_normal((n, 1)), rng(seed + 1).standard_normal((m, 1))
    expected = wasserstein_distance(x[:, 0], y[:, 0])
    assert sliced_wasserstein(x, y, rng(), 3) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_shift_costs_its_mean_projection():
    x = rng().standard_normal((500, 2))
    found = sliced_wasserstein(x, x + np.array([3.0, 0.0]), rng(), 4000)
    assert found == pytest.approx(3 * 2 / np.pi, rel=0.02)  # the mean of |cos| over directions


def test_sliced_distance_is_zero_for_a_permutation_and_repeatable():
    x = rng().standard_normal((100, 2))
    assert sliced_wasserstein(x, rng(3).permutation(x), rng()) == pytest.approx(0, abs=1e-12)
    y = rng(4).standard_normal((100, 2))
    assert sliced_wasserstein(x, y, rng(5)) == sliced_wasserstein(x, y, rng(5))
    assert sliced_wasserstein(x, y, rng(5)) != sliced_wasserstein(x, y, rng(6))


@laws
@given(counts, counts, st.integers(0, 10_000))
def test_energy_equals_the_definition(n, m, seed):
    x, y = rng(seed).standard_normal((n, 2)), rng(seed + 1).standard_normal((m, 2))

    def mean(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1).mean()

    assert energy_distance(x, y) == pytest.approx(2 * mean(x, y) - mean(x, x) - mean(y, y), abs=1e-12)
    assert energy_distance(x, x) == pytest.approx(0, abs=1e-12)
    assert energy_distance(x, y) >= -1e-12


def test_energy_crosses_chunk_borders_in_little_memory():
    x, y = rng().standard_normal((1100, 2)), rng(1).standard_normal((3000, 2)) + 1
    distances = np.linalg.norm(x[:, None] - y[None], axis=-1).mean() * 2
    own = sum(np.linalg.norm(a[:, None] - a[None], axis=-1).mean() for a in (x, y))
    tracemalloc.start()
    found = energy_distance(x, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == pytest.approx(distances - own, rel=1e-9)
    assert peak < 30e6  # all pairs of y at once would take 72 MB


MEANS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def test_mode_coverage_of_the_true_law_and_of_its_failures():
    true = MEANS[np.arange(4000) % 4] + 0.5 * rng().standard_normal((4000, 2))
    found = mode_coverage(true, MEANS, 0.5)
    assert found.within == pytest.approx(1 - np.exp(-8), abs=2e-3)
    assert found.smallest_mode == pytest.approx(1, abs=0.01)
    lost = mode_coverage(true[np.arange(4000) % 4 != 2], MEANS, 0.5)
    assert lost.smallest_mode == 0
    bridges = true.copy()
    bridges[:1000] = 5.0  # a quarter halfway between the modes
    assert mode_coverage(bridges, MEANS, 0.5).within == pytest.approx(0.75, abs=2e-3)
    assert mode_coverage(bridges, MEANS, 0.5).smallest_mode == pytest.approx(0.75, abs=0.01)


def test_a_mode_is_held_against_its_own_weight():
    x = np.repeat(MEANS, [50, 25, 15, 10], axis=0)
    assert mode_coverage(x, MEANS, 0.5, weights=[0.5, 0.25, 0.15, 0.10]).smallest_mode == pytest.approx(1)
    assert mode_coverage(x, MEANS, 0.5).smallest_mode == pytest.approx(0.4)


def test_the_radius_is_in_standard_deviations():
    x = MEANS + np.array([1.9, 0.0])
    assert mode_coverage(x, MEANS, 0.5).within == 1
    assert mode_coverage(x, MEANS, 0.5, radius=3.0).within == 0


@pytest.mark.parametrize("metric", [energy_distance, lambda x, y: sliced_wasserstein(x, y, rng())])
def test_bad_clouds_are_refused(metric):
    good = np.zeros((4, 2))
    with pytest.raises(ValueError, match="x: 1 of 4 rows hold NaN"):
        metric(np.where(np.eye(4, 2) > 0, [[np.nan, 0]], 0), good)
    with pytest.raises(ValueError, match="3 columns and y has 2"):
        metric(np.zeros((4, 3)), good)
    with pytest.raises(ValueError, match="expected a non-empty matrix"):
        metric(np.zeros((0, 2)), good)


def test_bad_modes_are_refused():
    with pytest.raises(ValueError, match="expected std > 0"):
        mode_coverage(MEANS, MEANS, 0.0)
    with pytest.raises(ValueError, match="4 positive weights"):
        mode_coverage(MEANS, MEANS, 1.0, weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="expected 1 or more"):
        sliced_wasserstein(MEANS, MEANS, rng(), 0)
