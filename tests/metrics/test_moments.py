"""Streaming moments: equal to numpy's, flat in memory, merged across processes, in either divisor."""

import pickle
import tracemalloc

import numpy as np
import pytest

from metrics.frechet import frechet_distance
from metrics.moments import Moments, RunningMoments


def batches(seed, count, dimension=64, size=100):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.standard_normal((size, dimension)) * np.arange(1, dimension + 1) + 1000


def part(seed):
    running = RunningMoments()
    for batch in batches(seed, 3):
        running.update(batch)
    return running


def test_equals_numpy_in_both_divisors():
    rows = np.concatenate(list(batches(0, 5)))
    for ddof in (0, 1):
        found = Moments.of(rows, ddof)
        np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.cov, np.cov(rows, rowvar=False, ddof=ddof), rtol=1e-10, atol=1e-10)
        assert found.ddof == ddof


def test_the_divisor_survives_a_merge():
    rows = np.concatenate(list(batches(1, 4)))
    joined = Moments.of(rows[:150], 0).merge(Moments.of(rows[150:], 1))
    np.testing.assert_allclose(joined.cov, np.cov(rows, rowvar=False, ddof=0), rtol=1e-10, atol=1e-10)


def test_merging_leaves_its_parts_alone():
    a, b = (Moments.of(next(batches(seed, 1))) for seed in (2, 3))
    before = [a.mean.copy(), a.cov.copy(), b.mean.copy(), b.cov.copy()]
    a.merge(b), b.merge(a)
    running = RunningMoments().merge(RunningMoments.from_moments(a))
    running.update(b.mean[None])
    snapshot = running.moments()
    kept = snapshot.mean.copy()
    running.update(b.mean[None])
    for x, y in zip([a.mean, a.cov, b.mean, b.cov], before, strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(snapshot.mean, kept)


def test_shares_of_processes_join_to_the_whole():
    parts = [pickle.loads(pickle.dumps(part(seed))) for seed in (4, 5, 6)]  # as they travel
    whole = np.concatenate([batch for seed in (4, 5, 6) for batch in batches(seed, 3)])
    for order in ([0, 1, 2], [2, 0, 1]):
        joined = RunningMoments()
        for i in order:
            joined.merge(parts[i])
        found = joined.moments()
        np.testing.assert_allclose(found.cov, np.cov(whole, rowvar=False), rtol=1e-10, atol=1e-10)
        assert found.count == 900


def test_peak_memory_does_not_grow_with_the_number_of_rows():
    def peak(count):
        running = RunningMoments()
        tracemalloc.start()
        for batch in batches(7, count):
            running.update(batch)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert running.count == 100 * count
        return used

    peak(2)
    assert peak(200) < 1.1 * peak(10)


def test_a_single_row_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 rows, found 1"):
        RunningMoments().update(np.ones((1, 3))).moments()


def test_constant_features_take_no_part_in_the_overlap():
    """A feature without variance spoils a Cholesky factor, and a square root of the product."""
    x, y = (np.concatenate(list(batches(seed, 4, 6))) for seed in (8, 9))
    x[:, 2], y[:, 4] = 5.0, 7.0
    found = frechet_distance(Moments.of(x), Moments.of(y))
    kept = [0, 1, 3, 5]
    rest = sum(
        (x[:, i].mean() - y[:, i].mean()) ** 2 + x[:, i].var(ddof=1) + y[:, i].var(ddof=1) for i in (2, 4)
    )
    expected = frechet_distance(Moments.of(x[:, kept]), Moments.of(y[:, kept])) + rest
    assert found == pytest.approx(expected, rel=1e-10)
