"""The Frechet distance against closed forms, other people's code, and its own laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from metrics.frechet import frechet_distance
from metrics.moments import Moments, RunningMoments

seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=40, deadline=None)


def cloud(seed, rows=60, dimension=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, dimension)) @ rng.standard_normal((dimension, dimension)) + rng.normal(
        size=dimension
    )


def close(a, b):
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(a.cov, b.cov, rtol=1e-10, atol=1e-10)
    assert a.count == b.count


@pytest.mark.parametrize("dimension", [3, 32, 64])
def test_equals_torch_fidelity(dimension):
    x, y = cloud(1, 300, dimension), cloud(2, 500, dimension)
    ours = frechet_distance(Moments.of(x), Moments.of(y))
    statistics = [fid_features_to_statistics(torch.from_numpy(f)) for f in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-8)


def test_equals_the_textbook_form_with_a_matrix_root():
    from scipy.linalg import sqrtm

    a, b = Moments.of(cloud(3, 400, 16)), Moments.of(cloud(4, 400, 16))
    shift = a.mean - b.mean
    expected = shift @ shift + np.trace(a.cov + b.cov - 2 * sqrtm(a.cov @ b.cov).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_equals_clean_fid():
    fid = pytest.importorskip("cleanfid.fid")
    a, b = Moments.of(cloud(5, 400, 16)), Moments.of(cloud(6, 400, 16))
    assert frechet_distance(a, b) == pytest.approx(
        fid.frechet_distance(a.mean, a.cov, b.mean, b.cov), rel=1e-8
    )


def test_closed_form_of_gaussians():
    eye, zero = np.eye(4), np.zeros(4)
    a = Moments(100, zero, 4 * eye)
    assert frechet_distance(a, Moments(100, zero + 1, 4 * eye)) == pytest.approx(4)  # a shift alone
    assert frechet_distance(a, Moments(100, zero, 9 * eye)) == pytest.approx(4)  # (3 - 2)^2 per axis
    variances = np.array([1.0, 4.0, 9.0, 16.0])
    b = Moments(100, zero, np.diag(variances))
    assert frechet_distance(a, b) == pytest.approx(((np.sqrt(variances) - 2) ** 2).sum())


def test_covariance_divides_by_n_minus_one():
    x = cloud(7)
    np.testing.assert_allclose(Moments.of(x).cov, np.cov(x, rowvar=False), rtol=1e-12)


def test_rank_deficient_sets_are_refused_unless_asked_for_and_stay_exact():
    x, y = cloud(8, 20, 64), cloud(9, 20, 64)
    a, b = Moments.of(x), Moments.of(y)
    with pytest.raises(ValueError, match="in 64 dimensions from 20 rows"):
        frechet_distance(a, b)
    # both sets span at most 39 directions: rotate there, where nothing is lost
    _, _, basis = np.linalg.svd(np.concatenate([x - x.mean(0), y - y.mean(0), (x.mean(0) - y.mean(0))[None]]))
    small = [Moments.of(f @ basis[:41].T) for f in (x, y)]
    whole = frechet_distance(a, b, allow_singular=True)
    assert whole == pytest.approx(frechet_distance(*small, allow_singular=True), rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_features_are_refused(bad):
    x = cloud(10)
    x[3, 2] = bad
    with pytest.raises(ValueError, match="1 of 60 rows hold NaN or infinity"):
        Moments.of(x)
    with pytest.raises(ValueError, match="NaN or infinity"):
        Moments(60, np.zeros(5), np.full((5, 5), bad))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Moments.of(np.zeros(5)), r"expected a non-empty matrix \[N, d\]"),
        (lambda: Moments.of(np.zeros((1, 5))), "at least 2 rows, found 1"),
        (lambda: Moments(9, np.zeros(5), np.eye(4)), r"shapes \[5\] and \[4, 4\]"),
        (lambda: frechet_distance(Moments.of(cloud(1)), Moments.of(cloud(1, 60, 4))), "5 and 4 features"),
        (lambda: Moments.of(cloud(1)).merge(Moments.of(cloud(1, 60, 4))), "cannot be merged"),
        (
            lambda: frechet_distance(Moments(9, np.zeros(2), np.diag([1, -1])), Moments.of(cloud(1, 60, 2))),
            "-1",
        ),
    ],
)
def test_bad_moments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@laws
@given(seeds, seeds)
def test_symmetric_and_never_negative(first, second):
    a, b = Moments.of(cloud(first)), Moments.of(cloud(second))
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there == pytest.approx(back, rel=1e-9, abs=1e-9)
    assert there >= 0


@laws
@given(seeds)
def test_zero_for_equal_sets(seed):
    a = Moments.of(cloud(seed))
    assert frechet_distance(a, a) <= 1e-11 * np.trace(a.cov)


@laws
@given(seeds, seeds, st.floats(-1e3, 1e3))
def test_translation_invariant(first, second, shift):
    x, y = cloud(first), cloud(second)
    here = frechet_distance(Moments.of(x), Moments.of(y))
    assert frechet_distance(Moments.of(x + shift), Moments.of(y + shift)) == pytest.approx(
        here, rel=1e-6, abs=1e-8
    )


@laws
@given(seeds)
def test_rotation_invariant(seed):
    x, y = cloud(seed), cloud(seed + 1)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((5, 5)))
    here = frechet_distance(Moments.of(x), Moments.of(y))
    assert frechet_distance(Moments.of(x @ turn), Moments.of(y @ turn)) == pytest.approx(
        here, rel=1e-7, abs=1e-9
    )


@laws
@given(seeds)
def test_merge_is_associative_and_equals_the_whole(seed):
    x = cloud(seed, 90) + 100
    a, b, c = (Moments.of(part) for part in (x[:20], x[20:50], x[50:]))
    close(a.merge(b).merge(c), a.merge(b.merge(c)))
    close(a.merge(b).merge(c), Moments.of(x))


@laws
@given(seeds, st.integers(1, 60))
def test_streaming_in_any_batch_size_equals_the_whole(seed, size):
    x = cloud(seed) + 100
    running = RunningMoments()
    for start in range(0, len(x), size):
        running.update(x[start : start + size])
    close(running.moments(), Moments.of(x))


def test_tensors_are_welcome():
    x = cloud(11)
    close(Moments.of(torch.from_numpy(x)), Moments.of(x))
