"""The Frechet distance at d = 2048 against torch-fidelity, clean-fid and EDM's formula."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_statistics_to_metric

from metrics.frechet import frechet_distance
from metrics.moments import Moments


def spectrum(seed, dimension, rows):
    """Moments whose variances span four decades, as those of Inception do, along directions of their own."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(1, 1e-2, dimension)
    mixing = rng.standard_normal((dimension, dimension)) / dimension**0.5
    features = (rng.standard_normal((rows, dimension)) * scales) @ mixing + 0.05 * rng.random(dimension)
    return Moments.of(features)


@pytest.fixture(scope="module")
def pair():
    return spectrum(0, 2048, 2600), spectrum(1, 2048, 2600)


@pytest.mark.slow
def test_equals_torch_fidelity_and_clean_fid_at_full_size(pair):
    from cleanfid.fid import frechet_distance as clean_fid

    a, b = pair
    found = frechet_distance(a, b)
    theirs = fid_statistics_to_metric(
        {"mu": a.mean, "sigma": a.cov}, {"mu": b.mean, "sigma": b.cov}, verbose=False
    )
    assert found == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    with np.errstate(all="ignore"), pytest.warns(DeprecationWarning):
        assert found == pytest.approx(clean_fid(a.mean, a.cov, b.mean, b.cov), rel=1e-6)
    assert found > 1


def edm(features, reference):
    """The formula of EDM's program: fp64 sums, divisor N - 1, a root of the product, its real part."""

    def statistics(rows):
        rows = np.asarray(rows, np.float64)
        total, square = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        for batch in np.array_split(rows, 4):
            total += batch.sum(axis=0)
            square += batch.T @ batch
        mu = total / len(rows)
        return mu, (square - np.outer(mu, mu) * len(rows)) / (len(rows) - 1)

    (mu, sigma), (mu_ref, sigma_ref) = statistics(features), statistics(reference)
    root = sqrtm(sigma @ sigma_ref)
    return float(np.real(np.square(mu - mu_ref).sum() + np.trace(sigma + sigma_ref - 2 * root)))


@pytest.mark.parametrize("dimension", [32, 128])
def test_equals_the_formula_of_edm(dimension):
    rng = np.random.default_rng(dimension)
    mixing = rng.standard_normal((dimension, dimension)) * np.geomspace(1, 0.1, dimension)
    features = rng.gamma(2.0, size=(6 * dimension, dimension)) @ mixing
    reference = rng.gamma(2.2, size=(9 * dimension, dimension)) @ mixing
    found = frechet_distance(Moments.of(features), Moments.of(reference))
    assert found == pytest.approx(edm(features, reference), rel=1e-6)


def test_an_ill_conditioned_pair_keeps_its_digits():
    """Eigenvalues of the product would lose half of them; the singular values of the roots do not."""
    rng = np.random.default_rng(5)
    turn, _ = np.linalg.qr(rng.standard_normal((40, 40)))
    first, second = np.geomspace(1, 1e-13, 40), np.geomspace(1e-13, 1, 40)
    a = Moments(100, np.zeros(40), turn * first @ turn.T)
    b = Moments(100, np.zeros(40), turn * second @ turn.T)
    expected = ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-7)


def test_few_rows_are_refused_with_the_reason():
    rng = np.random.default_rng(6)
    a, b = (Moments.of(rng.standard_normal((64, 64))) for _ in range(2))
    with pytest.raises(ValueError, match=r"no full rank and the bias of small N dominates; use more samples"):
        frechet_distance(a, b)
    assert frechet_distance(a, b, allow_singular=True) > 5  # of equal laws: all of it is bias
