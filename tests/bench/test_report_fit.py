"""The log-log fit of training curves, by its fixed rule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.fit import loglog_fit

WORK = [2.0**k for k in range(8)]


@given(st.floats(-2, -0.3), st.floats(0.1, 10))
def test_a_power_law_is_found_exactly(slope: float, scale: float) -> None:
    fit = loglog_fit([(0.0, 5.0), *((w, scale * w**slope) for w in WORK)])
    assert fit is not None
    assert fit.slope == pytest.approx(slope) and fit.r2 == pytest.approx(1)
    last = WORK[-1] * 1.5 ** (1 / slope)  # where the excess is 1.5 times the final one
    assert fit.until == next(w for w in WORK if w >= last * (1 - 1e-12))


def test_the_untrained_point_and_the_flat_end_do_not_count() -> None:
    falling = [(w, 1 / w) for w in WORK]
    flat = [(2.0**k, falling[-1][1] * (1 + 0.1 * (-1) ** k)) for k in range(8, 14)]
    fit = loglog_fit([(0.0, 1e6), *falling, *flat])
    assert fit is not None and fit.slope == pytest.approx(-1) and fit.until == WORK[-1]


def test_a_bad_line_has_a_low_r2() -> None:
    fit = loglog_fit([(w, math.exp(3 * (-1) ** k) + 30 - 4 * k) for k, w in enumerate(WORK)])
    assert fit is not None and fit.r2 < 0.9


@pytest.mark.parametrize("curve", [[], [(1.0, 1.0), (2.0, 0.5)], [(1.0, 1.0), (2.0, 0.0), (4.0, 1.0)]])
def test_too_few_points_or_no_excess_give_no_fit(curve) -> None:
    assert loglog_fit(curve) is None
