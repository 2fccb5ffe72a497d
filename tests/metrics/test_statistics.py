"""Intervals keep their promised coverage; the detectable difference is detected as often as it says."""

import numpy as np
import pytest
from scipy import stats

from metrics.statistics import bootstrap_mean, detectable_difference, paired_difference, summarise


def test_summary_equals_scipy():
    values = [3.1, 2.9, 3.6]
    found = summarise(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(3.2) and found.std == pytest.approx(np.std(values, ddof=1))
    assert found.ci95 == pytest.approx((expected.low, expected.high))
    assert found.values == (3.1, 2.9, 3.6)


def test_one_repeat_has_no_spread():
    found = summarise([2.0])
    assert (found.mean, found.std, found.ci95) == (2.0, None, None)


def test_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(5.0, 2.0, (4000, 3))
    covered = [low <= 5.0 <= high for low, high in (summarise(row).ci95 for row in draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_pairing_removes_what_both_share():
    shared = np.array([0.0, 10.0, -7.0])
    a, b = shared + np.array([1.0, 1.1, 0.9]), shared
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx(1.0) and paired.ci95[0] > 0
    assert summarise(a).ci95[0] < 0  # unpaired, the difference drowns
    with pytest.raises(ValueError, match="one pair per repeat"):
        paired_difference([1.0, 2.0], [1.0])


def test_bootstrap_interval_of_the_mean():
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    low, high = bootstrap_mean(values, np.random.default_rng(2))
    expected = summarise(values).ci95
    assert (low, high) == pytest.approx(expected, abs=0.03)
    assert (low, high) == bootstrap_mean(values, np.random.default_rng(2))


def test_detectable_difference_is_detected_as_often_as_it_says():
    gap = detectable_difference(2.0, repeats=3)
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.0, 2.0, (20_000, 3)), rng.normal(gap, 2.0, (20_000, 3))
    assert np.mean(stats.ttest_ind(a, b, axis=1).pvalue < 0.05) == pytest.approx(0.80, abs=0.01)


def test_detectable_difference_scales():
    assert detectable_difference(2.0, 3) == pytest.approx(2 * detectable_difference(1.0, 3))
    assert detectable_difference(1.0, 10) < detectable_difference(1.0, 3)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [[1.0]]])
def test_bad_values_are_refused(bad):
    with pytest.raises(ValueError, match="expected one or more finite numbers"):
        summarise(bad)
    with pytest.raises(ValueError, match="expected 2 or more repeats"):
        detectable_difference(1.0, 1)
