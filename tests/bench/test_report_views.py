"""Views beside the board: break-even, anytime, Pareto, profile; other rows move none of their numbers."""

import csv
import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_factory import board, cost, curve, record, references, row

from bench.report.anytime import anytimes
from bench.report.breakeven import break_evens
from bench.report.pareto import paretos, points
from bench.report.profile import Profile, profile_views, profiles
from bench.report.table import tables
from bench.report.view_text import VIEW_RENDERERS, view_rows, views_terminal
from bench.report.views import Shown
from bench.suite import load_suite

SUITE, OTHER = load_suite("gmm2d"), load_suite("gmm2d-grid")


def shown(records, suite=SUITE, ids=None):
    return Shown(suite, records, tables(records, suite), ids)


def rows(views):
    return [
        {head.key: value for head, value in zip(view.heads, values, strict=True)}
        for view in views
        for values in view.rows
    ]


def found(views, method):
    (one,) = [r for r in rows(views) if r["method"] == method]
    return one


def test_break_even_is_work_over_the_evaluations_saved():
    """A student of one evaluation as good as a solver of four saves three per image."""
    records = [record("sid", [row(1, 25.0, work=1.5e6)]), *references()]
    one = found(break_evens(shown(records)), "sid")
    assert (one["rival"], one["images"], one["beyond"]) == ("euler@4", 1.5e6 / 3, None)


def test_a_student_better_than_all_is_set_against_the_best():
    one = found(break_evens(shown([record("sid", [row(1, 4.1)]), *references()])), "sid")
    assert (one["rival"], one["images"], one["beyond"]) == ("teacher[heun]@79", 1.5e6 / 78, "yes")


@pytest.mark.parametrize(("nfe", "swd"), [(1, 400.0), (2, 90.0), (4, 20.0)])
def test_a_student_that_a_solver_matches_never_pays(nfe, swd):
    assert (
        found(break_evens(shown([record("bad", [row(nfe, swd)]), *references()])), "bad")["images"] == "never"
    )


def test_break_even_needs_a_yardstick_that_the_suite_names():
    mine = record("mine", [row(1, 0.1)], kind="solver", paper=None)
    assert break_evens(shown([record("sid"), mine])) == []


def test_anytime_takes_the_last_snapshot_within_each_share():
    found_curve = curve(9.0)
    one = found(anytimes(shown([record("sid", curve=found_curve, cost=cost()), *references()])), "sid")
    expected = {"1/4": found_curve[3], "1/2": found_curve[4], "full": found_curve[5]}
    for name, point in expected.items():
        assert one[f"at_{name}"] == point.metrics["swd"] and one[f"place_{name}"] == 1


def test_anytime_averages_seeds_and_places_by_step_count():
    records = [
        record("sid", [row(1, 9.0)], seed=seed, curve=curve(9.0 + shift), cost=cost())
        for seed, shift in enumerate((-0.5, 0.5))
    ]
    records += [record("dmd", [row(1, 8.0)], curve=curve(8.0), cost=cost())]
    records += [record("two", [row(2, 30.0)], curve=curve(30.0, 2), cost=cost())]
    made = rows(anytimes(shown(records)))
    assert [(r["method"], r["place_full"]) for r in made] == [("dmd", 1), ("sid", 2), ("two", 1)]
    assert made[1]["at_full"] == pytest.approx(9.0)


def test_anytime_says_nothing_where_no_snapshot_lies():
    late = [point for point in curve(9.0) if point.work > 1e6]
    one = found(anytimes(shown([record("sid", curve=late, cost=cost())])), "sid")
    assert (one["at_1/4"], one["at_1/2"], one["place_1/4"]) == (None, None, None) and one["at_full"] == 9.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8))
def test_the_front_is_what_nothing_dominates(pairs):
    records = [
        record(f"m{i}", [row(1, float(value))]).model_copy(
            update={"rows": [timed(row(1, float(value)), float(latency))]}
        )
        for i, (latency, value) in enumerate(pairs)
    ]
    (table,) = tables(records, SUITE)
    for point in points(table, SUITE.column(SUITE.primary)):
        beaten = any(
            latency <= point.latency
            and value <= point.value
            and (latency, value) != (point.latency, point.value)
            for latency, value in pairs
        )
        assert point.front is not beaten


def timed(one, ratio):
    assert one.latency is not None
    return one.model_copy(update={"latency": one.latency.model_copy(update={"ratio": ratio})})


def on(suite, records):
    return [r.model_copy(update={"suite": suite.name, "protocol": suite.protocol.id}) for r in records]


def two_suites(extra=()):
    return [shown([*on(s, board()), *on(s, extra)], s) for s in (SUITE, OTHER)]


def test_a_profile_counts_problems_within_a_ratio():
    one = Profile("m", (1.0, 2.0, 10.0, math.inf))
    assert [one.share(t) for t in (1.0, 2.0, 10.0)] == [0.25, 0.5, 0.75]
    assert one.area == pytest.approx(1 - (math.log10(2) + 2) / 4)


def test_a_problem_is_solved_by_the_best_row_of_no_more_evaluations():
    by_name = {p.method: p for p in profiles(two_suites(), "quick")}
    assert by_name["sid"].ratios == pytest.approx((9.0 / 4.2,) * 8)
    assert by_name["progressive"].ratios[:4] == pytest.approx(tuple(v / 4.2 for v in (30, 15, 7.5, 7.5)))
    assert "lcm" not in by_name, "a stopped training competes nowhere"


def test_one_suite_makes_no_profile():
    assert profile_views(two_suites()[:1]) == []


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 600), st.sampled_from(["student", "solver", "teacher", "external"]))
def test_views_move_no_number_when_others_submit(swd, kind):
    new = record("new", [row(1, swd)], kind=kind, curve=curve(swd), cost=cost(), config={"of": "others"})
    before, after = two_suites(), two_suites([new])
    old = {p.method: p.ratios for p in profiles(before, "quick")}
    now = {p.method: p.ratios for p in profiles(after, "quick")}
    assert all(now[name] == ratios for name, ratios in old.items())
    for view in (break_evens, anytimes, paretos):
        places = {"front", *(f"place_{n}" for n in ("1/4", "1/2", "full"))}
        kept = {r["id"]: {k: v for k, v in r.items() if k not in places} for r in rows(view(after[0]))}
        for r in rows(view(before[0])):
            assert kept[r["id"]] == {k: v for k, v in r.items() if k not in places}


def test_filters_hide_rows_of_a_view_and_move_nothing():
    whole = shown(board())
    (sid,) = [r for r in rows(break_evens(whole)) if r["method"] == "sid"]
    one = shown(board(), ids=frozenset({sid["id"]}))
    assert rows(break_evens(one)) == [sid] and len(rows(paretos(one))) == 1


def test_views_in_every_format():
    views = break_evens(shown(board()))
    assert "sid" in views_terminal(views) and "\x1b" not in views_terminal(views)
    texts = {form: render(views) for form, render in VIEW_RENDERERS.items()}
    read = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert len(read) == len(rows(views)) and {r["method"] for r in read} == {r["method"] for r in rows(views)}
    assert json.loads(texts["json"])["views"][0]["rows"] == rows(views)
    assert texts["md"].count("\n| ") == len(rows(views)) + 2
    assert r"\toprule" in texts["latex"] and len(view_rows(views)) == len(rows(views))
