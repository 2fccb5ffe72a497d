"""Rank agreement between boards and papers: Kendall's tau, the chosen numbers, too few methods."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from record_factory import record, references, row
from scipy import stats

from bench.claims.kendall import agreement, tau_b
from bench.claims.prediction import comparisons, section
from bench.claims.reported import reported
from bench.claims.rows import Board
from bench.suite import load_suite

few = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=7)


@given(few)
@settings(max_examples=100, deadline=None)
def test_tau_b_is_scipys_also_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    found = tau_b(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.kendalltau(x, y).statistic)


@given(st.permutations(range(5)))
@settings(max_examples=5, deadline=None)
def test_p_is_exact(order: list[int]) -> None:
    found = agreement(range(5), order)
    assert found is not None and found.n == 5
    assert found.p == pytest.approx(stats.kendalltau(range(5), order, method="exact").pvalue)
    assert found.interval is not None
    assert -1 <= found.interval[0] <= found.interval[1] <= 1


@given(few)
@settings(max_examples=10, deadline=None)
def test_agreement_is_symmetric_and_the_reverse_is_negative(pairs: list[tuple[int, int]]) -> None:
    x, y = ([float(v) for v in column] for column in zip(*pairs[:4], strict=True))
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    one, other, reverse = agreement(x, y), agreement(y, x), agreement(x, [-v for v in y])
    assert one is not None and other is not None and reverse is not None
    assert one.tau == pytest.approx(other.tau) == pytest.approx(-reverse.tau)
    assert one.p == pytest.approx(other.p) == pytest.approx(reverse.p)


def test_lists_that_tell_nothing() -> None:
    assert agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(ValueError, match="found 9 values, expected at most 8"):
        agreement(range(9), range(9))
    again = agreement([1, 2, 3, 4], [1, 3, 2, 4])
    assert again == agreement([1, 2, 3, 4], [1, 3, 2, 4])


def test_reported_numbers_follow_the_rule() -> None:
    one = reported("imagenet64", "class", (1,))
    assert set(one) == {"sid", "dmd", "dmd2", "lcm", "progressive", "moment_matching"}
    assert (one["dmd2"].value, one["dmd2"].tier) == (1.28, 0)  # others report 1.12
    assert (one["dmd"].value, one["dmd"].tier) == (2.62, 0)  # not its ablations
    assert (one["lcm"].value, one["lcm"].paper, one["lcm"].tier) == (6.2, "song2023cm", 1)  # listed as CD
    assert (one["progressive"].value, one["progressive"].tier) == (7.88, 2)  # a re-implementation
    assert reported("cifar10", "uncond", (2, 3, 4))["progressive"].nfe == 4
    assert reported("nowhere", "class", (1,)) == {}


def board(order: list[str]) -> Board:
    records = [record(name, [row(1, 5.0 + k)]) for k, name in enumerate(order)]
    return Board.of([*records, *references()], load_suite("gmm2d"), "quick")


def test_a_board_in_the_papers_order_agrees_and_a_reversed_one_does_not() -> None:
    order = ["dmd2", "sid", "dmd", "lcm", "progressive"]  # by FID on ImageNet-64, one step
    for names, tau in ((order, 1.0), (order[::-1], -1.0)):
        found = {(c.dataset, c.steps): c for c in comparisons([board(names)])}
        agreed = found["imagenet64, class", "one step"].agreement
        assert agreed is not None and agreed.tau == pytest.approx(tau)
        assert agreed.p == pytest.approx(2 / 120)
        assert found["imagenet64, class", "2 to 4 steps"].agreement is None


def test_three_methods_are_not_enough() -> None:
    text = section([board(["dmd2", "sid", "dmd"])])
    assert "| gmm2d | imagenet64, class | one step | 3 | not enough methods |  |  |" in text
    assert "dmd2 1.28 (1 NFE, [@yin2024dmd2])" in text
    assert "No board has records yet." in section([])
