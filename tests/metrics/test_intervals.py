"""Intervals cover what they name; the expansion behind them is the derivative of the distance."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.class_frechet import class_frechet_distance
from metrics.expansion import Transport, expand
from metrics.frechet import Moments, frechet_distance
from metrics.intervals import (
    class_frechet_interval,
    frechet_interval,
    jackknife_interval,
    paired_frechet_difference,
)
from metrics.points import energy_distance

STUDY = Path(__file__).resolve().parents[2] / "docs" / "studies" / "coverage.py"


def study():
    spec = importlib.util.spec_from_file_location("coverage_study", STUDY)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_study"] = module
    spec.loader.exec_module(module)
    return module


def weighted(x, weight):
    """Moments of a weighted sample; weights sum to 1."""
    mean = weight @ x
    return Moments(len(x), mean, ((x - mean) * weight[:, None]).T @ (x - mean))


def sets(seed, n=60, m=70, d=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 0.5, 1.3 * rng.standard_normal((m, d))


@given(st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_influence_is_the_derivative_of_the_distance_by_the_weight_of_a_row(seed):
    x, y = sets(seed)
    found = expand(x, y)
    uniform, step = [np.full(len(rows), 1 / len(rows)) for rows in (x, y)], 1e-5
    for side in (0, 1):

        def moved(row, size, side=side):
            weights = [w.copy() for w in uniform]
            weights[side] *= 1 - size
            weights[side][row] += size
            return frechet_distance(weighted(x, weights[0]), weighted(y, weights[1]))

        slopes = np.array([(moved(row, step) - moved(row, -step)) / (2 * step) for row in range(5)])
        influence = found.influence[side]
        np.testing.assert_allclose(
            slopes - slopes[0], influence[:5] - influence[0], rtol=0.05, atol=0.05 * influence.std()
        )  # divisors N and N - 1 differ by 2 %


def test_pairs_are_the_second_derivative_of_the_distance():
    x, y = sets(3, 400, 400)
    found, u, step = expand(x, y), np.full(400, 1 / 400), 1e-3

    def moved(i, j, k, sizes):
        weights = [u.copy(), u.copy()]
        for side, row, size in ((0, i, sizes[0]), (k, j, sizes[1])):
            weights[side] += size * ((np.arange(400) == row) - u)
        return frechet_distance(weighted(x, weights[0]), weighted(y, weights[1]))

    def second(i, j, k):
        signs = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
        return sum(s * moved(i, j, k, (a * step, b * step)) for a, b, s in signs) / (4 * step * step)

    way, z = Transport(Moments.of(x), Moments.of(y)), x - x.mean(0)
    gradient = np.eye(3) - way.from_sample @ way.from_sample.T
    for row in range(4):
        # two moved rows also change the covariance by their product, at first order of the moments
        exact = second(row + 1, row, 0) + 2 * z[row] @ gradient @ z[row + 1]
        assert exact == pytest.approx(found.pairs[0][0][row], rel=0.05, abs=0.05)
        assert -second(row, row, 1) == pytest.approx(found.pairs[2][0][row], rel=0.05, abs=0.05)


def test_common_coordinates_have_one_covariance():
    x, y = sets(4)
    a, b = Moments.of(x), Moments.of(y)
    way = Transport(a, b)
    assert way.distance == pytest.approx(frechet_distance(a, b), rel=1e-10)
    np.testing.assert_allclose(way.from_sample.T @ a.cov @ way.from_sample, np.diag(way.r), atol=1e-10)
    np.testing.assert_allclose(way.from_reference.T @ b.cov @ way.from_reference, np.diag(way.r), atol=1e-10)


def test_estimate_is_freed_from_the_bias_of_finite_samples():
    rng = np.random.default_rng(0)
    found = [
        frechet_interval(rng.standard_normal((400, 16)), Moments(9, np.zeros(16), np.eye(16)))
        for _ in range(40)
    ]
    assert np.mean([f.plain for f in found]) > 0.15
    mean, error = np.mean([f.estimate for f in found]), np.std([f.estimate for f in found]) / np.sqrt(40)
    assert abs(mean) < 4 * error < 0.03


def test_coverage_of_the_frechet_interval():
    """Reduced: 7 laws at d = 16, N = 1,000, 60 trials each; the whole table is the slow test."""
    module = study()
    held = [module.coverage(law, 16, 1000, 60, module.score) for law in module.laws(16)]
    assert min(held) >= 0.85
    assert 0.93 <= np.mean(held) <= 0.985


def test_percentile_bootstrap_misses_and_so_the_test_of_coverage_can_fail():
    module = study()
    percentile, _ = module.bootstrap_coverage(module.laws(16)[3], 16, 1000, 12)
    assert percentile <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("d", "n"), [(16, 1000), (16, 5000), (64, 1000), (64, 5000)])
def test_coverage_is_93_to_97_percent(d, n):
    """300 trials of each law: one law within 3 standard errors of the band, all together inside it."""
    module = study()
    held = np.array([module.coverage(law, d, n, 300, module.score) for law in module.laws(d)])
    slack = 3 * np.sqrt(0.05 * 0.95 / 300)
    assert (held >= 0.93 - slack).all() and (held <= 0.97 + slack).all()
    assert 0.93 <= held.mean() <= 0.97


def test_a_sampled_reference_widens_the_interval():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((1000, 8)), rng.standard_normal((1000, 8)) + 0.3
    exact, sampled = frechet_interval(x, Moments.of(y)), frechet_interval(x, y)
    assert sampled.std_error > 1.2 * exact.std_error
    assert sampled.estimate < exact.estimate  # the reference has a bias of its own
    assert "law of the reference rows" in sampled.estimand and "this reference" in exact.estimand


def test_interval_is_the_same_again_and_for_scaled_features():
    x = np.random.default_rng(2).standard_normal((300, 4)) + 0.2
    reference = Moments(9, np.zeros(4), np.eye(4))
    found = frechet_interval(x, reference)
    assert found == frechet_interval(x, reference)
    scaled = frechet_interval(3 * x, Moments(9, np.zeros(4), 9 * np.eye(4)))
    assert np.array(scaled.ci95) == pytest.approx(9 * np.array(found.ci95))


def test_dead_features_change_nothing():
    x = np.random.default_rng(3).standard_normal((600, 4)) + 0.2
    reference = Moments(9, np.zeros(4), np.eye(4))
    padded = Moments(9, np.zeros(6), np.diag([1.0, 1, 1, 1, 0, 0]))
    found = frechet_interval(np.hstack([x, np.zeros((600, 2))]), padded)
    assert found.ci95 == pytest.approx(frechet_interval(x, reference).ci95)


def test_pairing_narrows_the_difference_and_covers_it():
    reference, held, narrower = Moments(9, np.zeros(4), np.eye(4)), 0, []
    for trial in range(100):
        rng = np.random.default_rng([5, trial])
        noise = rng.standard_normal((500, 4))
        a, b = noise + 0.5, noise + 0.6 + 0.1 * rng.standard_normal((500, 4))
        found = paired_frechet_difference(a, b, reference)
        truth = 4 * (0.25 - 0.36 - (np.sqrt(1.01) - 1) ** 2)
        held += found.ci95[0] <= truth <= found.ci95[1]
        alone = [frechet_interval(rows, reference).std_error for rows in (a, b)]
        narrower.append(found.std_error / np.hypot(*alone))
        assert found.detectable == pytest.approx((1.95996 + 0.84162) * found.std_error, rel=1e-4)
    assert 0.88 <= held / 100 <= 1
    assert np.mean(narrower) < 0.4


def test_class_interval_covers_the_mean_of_the_classes():
    rng = np.random.default_rng(6)
    real, fake = rng.standard_normal((400, 3)), rng.standard_normal((400, 3)) + 0.4
    labels = np.arange(400) % 2
    arguments = {"real": real, "real_labels": labels, "fake": fake, "fake_labels": labels, "classes": 2}
    found = class_frechet_interval(**arguments)
    assert found.plain == pytest.approx(class_frechet_distance(**arguments))
    assert found.ci95[0] < found.estimate < found.ci95[1]
    with pytest.raises(ValueError, match="class 0: features: 200 rows in 40 dimensions; expected 240"):
        class_frechet_interval(**{**arguments, "real": rng.random((400, 40)), "fake": rng.random((400, 40))})


def test_jackknife_of_a_mean_is_the_t_interval_and_takes_bias_out():
    x = np.random.default_rng(7).normal(5, 2, 200)
    found = jackknife_interval(lambda rows: float(x[rows].mean()), 200, estimand="mean", groups=200)
    assert found.estimate == pytest.approx(x.mean())
    assert found.std_error == pytest.approx(x.std(ddof=1) / np.sqrt(200))
    variance = jackknife_interval(lambda rows: float(x[rows].var()), 200, estimand="variance", groups=200)
    assert variance.plain == pytest.approx(x.var()) and variance.estimate == pytest.approx(x.var(ddof=1))


def test_jackknife_covers_an_energy_distance():
    held = 0
    for trial in range(60):
        rng = np.random.default_rng([8, trial])
        x, y = rng.standard_normal((100, 1)), rng.standard_normal((400, 1)) + 1
        # of two unit normals a distance m apart: 2 (E|N(m, 2)| - E|N(0, 2)|), here against the sample y
        truth = 2 * np.mean([abs(v - rng.standard_normal(400)).mean() for v in y[:, 0]])
        truth -= np.abs(y - y.T).mean() + 2 / np.sqrt(np.pi)
        found = jackknife_interval(lambda rows, x=x, y=y: energy_distance(x[rows], y), 100, estimand="energy")
        held += found.ci95[0] <= truth <= found.ci95[1]
    assert held >= 51


def test_bad_input_is_refused():
    x = np.random.default_rng(9).standard_normal((100, 4))
    with pytest.raises(ValueError, match="features: 20 rows in 4 dimensions; expected 24 or more"):
        frechet_interval(x[:20], Moments.of(x))
    with pytest.raises(ValueError, match="reference: 20 rows in 4 dimensions"):
        frechet_interval(x, x[:20])
    with pytest.raises(ValueError, match="features have 4 columns and the reference 3"):
        frechet_interval(x, Moments.of(x[:, :3]))
    with pytest.raises(ValueError, match="features: 1 of 100 rows hold NaN"):
        frechet_interval(np.where(np.arange(400).reshape(100, 4) == 7, np.nan, x), Moments.of(x))
    with pytest.raises(ValueError, match="found 100 and 99 rows"):
        paired_frechet_difference(x, x[:99], Moments.of(x))
    with pytest.raises(ValueError, match="5 or more groups and a row for each, found 20 and 7 rows"):
        jackknife_interval(lambda rows: 0.0, 7, estimand="none")
