import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_factory import value
from scipy import stats

from bench.report.statistics import (
    Estimate,
    clearly_better,
    detectable975,
    estimate,
    ranks,
    student_t975,
    tie_letters,
)


def spans(*pairs: tuple[float, float] | None) -> list[Estimate]:
    return [
        Estimate(sum(pair) / 2, pair, "seeds") if pair else Estimate(5.0, None, "nothing") for pair in pairs
    ]


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 17, 30, 101])
def test_t_quantile_equals_scipy(freedom):
    assert student_t975(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_one_seed_keeps_the_interval_of_the_record():
    found = estimate([value(3.0, 0.5)])
    assert (found.mean, found.interval, found.over, found.half) == (3.0, (2.5, 3.5), "repeats", 0.5)


def test_one_seed_and_one_repeat_has_no_interval():
    found = estimate([value(3.0, None)])
    assert (found.interval, found.half, found.over) == (None, None, "nothing")


def test_seeds_give_a_t_interval_of_their_means_whatever_the_repeats_say():
    found = estimate([value(m, half) for m, half in ((1.0, 0.1), (2.0, 5.0), (6.0, None))])
    low, high = stats.t.interval(0.95, 2, loc=3.0, scale=math.sqrt(7.0 / 3))
    assert found.mean == 3.0
    assert found.interval == pytest.approx((low, high))
    assert found.over == "seeds"


def test_clearly_better_needs_disjoint_intervals_in_the_right_direction():
    a, b, touching, unknown = spans((1, 2), (3, 4), (2, 3), None)
    assert clearly_better(a, b, "lower") and not clearly_better(b, a, "lower")
    assert clearly_better(b, a, "higher") and not clearly_better(a, b, "higher")
    assert not clearly_better(a, touching, "lower")
    assert not clearly_better(a, unknown, "lower") and not clearly_better(unknown, b, "lower")


def test_overlap_is_not_transitive_and_letters_say_so():
    chain = spans((1, 3), (2, 5), (4, 6), (8, 9))
    assert tie_letters(chain, "lower") == ["a", "ab", "b", ""]
    assert ranks(chain, "lower") == [1, 1, 2, 4]
    assert ranks(chain, "higher") == [3, 2, 2, 1]


def test_an_unknown_interval_is_separable_from_nothing():
    assert tie_letters(spans((1, 2), (3, 4), None), "lower") == ["a", "b", "ab"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=8))
def test_two_rows_share_a_letter_exactly_if_neither_is_clearly_better(pairs):
    rows = spans(*((float(low), float(low + length)) for low, length in pairs))
    letters = tie_letters(rows, "lower")
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            separable = clearly_better(a, b, "lower") or clearly_better(b, a, "lower")
            assert bool(set(letters[i]) & set(letters[j])) is not separable


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 8, 29])
def test_detectable_difference_has_its_power_by_the_noncentral_t_law(freedom):
    effect, critical = detectable975(freedom), stats.t.ppf(0.975, freedom)
    power = stats.nct.sf(critical, freedom, effect) + stats.nct.cdf(-critical, freedom, effect)
    assert power == pytest.approx(0.80, abs=2e-4)
