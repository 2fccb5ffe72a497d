from dataclasses import replace

import pytest
from record_factory import board, failed, provenance, record, references, row

from bench.report.columns import notes
from bench.report.table import UNRANKED, Line, Table, tables
from bench.suite import load_suite

SUITE = load_suite("gmm2d")

EXTERNAL = UNRANKED["external"]


def one(records) -> Table:
    (table,) = tables(records, SUITE)
    return table


def lines(table: Table) -> list[Line]:
    return [line for section in table.sections for line in section.lines]


def line(table: Table, label: str, nfe: int | None = 1) -> Line:
    (found,) = [x for x in lines(table) if x.label == label and x.nfe == nfe]
    return found


def test_sections_go_by_counted_evaluations_then_failures_then_references():
    titles = [section.title for section in one(board()).sections]
    assert titles == ["1 evaluation", "2 evaluations", "4 evaluations", "no result", "references"]


def test_seeds_of_a_row_are_averaged():
    found = line(one(board()), "sid")
    assert found.metrics["swd"].mean == pytest.approx(9.0)
    assert found.metrics["swd"].over == "seeds"
    assert (found.seeds, found.started, len(found.cells)) == (3, 3, 3)


def test_ranks_and_ties_are_inside_one_nfe():
    table = one(board())
    assert (line(table, "sid").rank, line(table, "sid").ties) == (1, "a")
    assert (line(table, "dmd").rank, line(table, "dmd").ties) == (1, "a")
    assert (line(table, "progressive").rank, line(table, "progressive").ties) == (3, "")
    assert line(table, "progressive", 2).rank == 1


def test_a_step_that_costs_two_evaluations_is_ranked_with_two_evaluations():
    table = one([record("guided", [row(2, 5.0, steps=1)]), record("sid", [row(2, 9.0)]), *references()])
    assert [x.label for x in table.sections[0].lines] == ["guided", "sid"]
    assert table.sections[0].title == "2 evaluations"


def test_excess_is_over_real_data_and_absent_without_that_record():
    assert line(one(board()), "sid").excess == pytest.approx(5.0)
    assert line(one([record("sid")]), "sid").excess is None


def test_excess_and_verdict_turn_round_where_higher_is_better():
    suite = SUITE.model_copy(update={"primary": "within"})
    made = [record("sid", [row(1, 5.0)]), *references()]
    (table,) = tables(made, suite)
    found = line(table, "sid")
    assert found.excess == pytest.approx(0.96 - 0.95)
    assert found.against is not None and found.against.verdict == "better"


@pytest.mark.parametrize(
    ("swd", "half", "verdict"), [(70.0, 1.0, "better"), (79.0, 2.0, "level"), (90.0, 1.0, "worse")]
)
def test_the_row_to_beat_is_the_best_solver_of_no_more_evaluations(swd, half, verdict):
    found = line(one([record("sid", [row(3, swd, half)]), *references()]), "sid", 3)
    assert found.against is not None
    assert (found.against.solver, found.against.nfe, found.against.mean) == ("euler", 2, 80.0)
    assert found.against.verdict == verdict


def test_without_a_solver_of_so_few_evaluations_there_is_no_verdict():
    only_two = [
        r if r.kind != "solver" else r.model_copy(update={"rows": [row(2, 80.0)]}) for r in references()
    ]
    assert line(one([record("sid"), *only_two]), "sid").against is None


@pytest.mark.parametrize("status", ["failed", "truncated", "diverged", "timeout", "lost"])
def test_only_finished_rows_are_ranked(status):
    table = one([record("sid"), record("lcm", [row(1, 1.0)], status=status)])
    best, stopped = table.sections[0].lines
    assert (best.label, best.rank) == ("sid", 1)
    assert (stopped.label, stopped.rank, stopped.status) == ("lcm", None, status)


def test_a_failed_seed_is_not_averaged_and_is_counted():
    table = one([record("sid", seed=0), record("sid", [row(1, 11.0)], seed=1), failed("sid", seed=2)])
    good, bad = line(table, "sid"), line(table, "sid", None)
    assert (good.seeds, good.started, good.metrics["swd"].mean) == (2, 3, 10.0)
    assert (bad.seeds, bad.started, bad.status, bad.rank) == (1, 3, "failed", None)
    assert bad.note == "train: FloatingPointError: loss is nan at iteration 12"


def test_numbers_do_not_depend_on_other_methods():
    alone = line(one([*(r for r in board() if r.label == "sid"), *references()]), "sid")
    among = line(one(board()), "sid")
    assert replace(among, rank=None, ties="") == replace(alone, rank=None, ties="")


def test_a_table_does_not_depend_on_the_order_of_records():
    assert one(board()) == one(board()[::-1])


def test_versions_protocols_and_budgets_are_never_in_one_table():
    records = [
        record("sid"),
        record("sid", suite_version="1.1"),
        record("sid", protocol="gmm2d@2"),
        record("sid", budget="full"),
        record("sid", budget="standard"),
    ]
    found = [(t.version, t.protocol, t.budget) for t in tables(records, SUITE)]
    assert found == [
        ("1.0", "gmm2d@1", "quick"),
        ("1.0", "gmm2d@1", "standard"),
        ("1.0", "gmm2d@1", "full"),
        ("1.0", "gmm2d@2", "quick"),
        ("1.1", "gmm2d@1", "quick"),
    ]


def test_references_serve_every_budget_and_show_once():
    made = tables([record("sid", budget="full"), *references("quick"), *references("standard")], SUITE)
    assert [table.budget for table in made] == ["full"]
    assert [x.label for x in lines(made[0])].count("teacher[heun]") == 1
    assert made[0].floor == 4.0


def test_references_alone_make_a_table():
    table = one(references())
    assert [section.title for section in table.sections] == ["references"]
    assert all(x.rank is None for x in lines(table))


def test_rows_of_one_label_with_other_options_are_told_apart():
    table = one([record("sid", config={"lr": 1e-3}), record("sid", config={"lr": 1e-4})])
    labels = [x.label for x in table.sections[0].lines]
    assert len(set(labels)) == 2 and all(label.startswith("sid #") for label in labels)


def test_devices_are_named_with_their_threads():
    many = record("dmd", provenance=provenance(threads=4))
    assert one([record("sid"), many]).devices == ("cpu, 1 thread", "cpu, 4 threads")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"batch": 8, "learned": [2.0, 8.0], "asked": 6.0}, "learned from scale 2 to 8, here at scale 6."),
        ({"batch": 8, "learned": [2.0, 8.0]}, "learned from scale 2 to 8, here at the suite's scale."),
        ({"batch": 8, "asked": 6.0}, None),
        ({"batch": 8}, None),
    ],
)
def test_the_scales_of_students_that_take_one_are_said_once(stated, said):
    both = [record("lcm", [row(1, 0.1), row(2, 0.1)], preset=stated), record("sid")]
    told = [note for note in notes(one(both)) if "guidance" in note]
    assert told == ([f"lcm: guidance is an input, {said}"] if said else [])


def test_a_metric_that_nobody_ranks_by_is_shown_unranked():
    columns = tuple(c.model_copy(update={"better": "none"}) for c in SUITE.metrics)
    (table,) = tables([record("sid")], SUITE.model_copy(update={"metrics": columns}))
    assert line(table, "sid").rank is None


def test_image_protocols_without_a_pinned_network_are_provisional():
    protocol = SUITE.protocol.model_copy(update={"evaluator": "images"})
    (table,) = tables([record("sid")], SUITE.model_copy(update={"protocol": protocol}))
    assert table.provisional and not one([record("sid")]).provisional


def test_external_rows_are_shown_and_never_ranked():
    """The best number of all is somebody else's: it takes no rank and moves none."""
    external = record(
        "closed", [row(1, 0.1, work=0)], kind="external", budget="none", config={"stated_nfe": 1}, paper=None
    )
    (without,), (table,) = tables(board(), SUITE), tables([*board(), external], SUITE)
    assert [s for s in table.sections if s.title != EXTERNAL] == list(without.sections)
    (line,) = next(s for s in table.sections if s.title == EXTERNAL).lines
    assert (line.label, line.rank, line.ties, line.against, line.nfe) == ("closed", None, "", None, 1)
    assert line.excess is not None and line.excess < 0


def test_external_rows_stand_beside_every_budget_and_alone():
    external = record("closed", [row(1, 0.1, work=0)], kind="external", budget="none", paper=None)
    students = [record("sid"), record("sid", budget="standard")]
    made = tables([*students, external], SUITE)
    assert [table.budget for table in made] == ["quick", "standard"]
    assert all([s.title for s in table.sections] == ["1 evaluation", EXTERNAL] for table in made)
    (alone,) = tables([external], SUITE)
    assert alone.budget == "none" and [s.title for s in alone.sections] == [EXTERNAL]
