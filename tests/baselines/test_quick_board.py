"""Every method trained for real: the quick board of gmm2d, as a user runs it (ten minutes on two cores)."""

from __future__ import annotations

import pytest

from bench.cli import main
from bench.record import Record, Row, read_record

METHODS = {"sid", "dmd", "dmd2", "lcm", "progressive", "moment_matching", "ddil"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    runs = tmp_path_factory.mktemp("runs")
    assert main(["run", "--suite", "gmm2d", "--budget", "quick", "--jobs", "2", "--out", str(runs)]) == 0
    return [read_record(path) for path in sorted(runs.glob("gmm2d@*/*/record.json"))]


@pytest.fixture(scope="module")
def students(board: list[Record]) -> list[Record]:
    return [record for record in board if record.kind == "student"]


def solver_to_beat(board: list[Record], row: Row) -> float:
    """The lowest distance of a plain solver with no more evaluations."""
    rows = [one for record in board if record.kind == "solver" for one in record.rows]
    return min(one.metrics["swd"].mean for one in rows if one.nfe <= row.nfe)


def test_all_seven_finish_within_their_budget(students: list[Record]) -> None:
    assert {record.method for record in students} == METHODS
    for record in students:
        assert record.status == "ok" and record.cost is not None
        spent = record.cost.work - record.cost.overshoot
        assert spent <= record.cost.budget and all(row.work <= record.cost.work for row in record.rows)


SHARES = {1: 0.3, 2: 0.3, 4: 0.6, 8: 1.0}  # of the distance of the best plain solver


def test_students_are_far_ahead_of_the_best_plain_solver(board: list[Record], students: list[Record]) -> None:
    """Which untrained students are not in one, two and four steps: the first point of each curve."""
    for record in students:
        for row in record.rows:
            bar = SHARES[row.steps] * solver_to_beat(board, row)
            assert row.metrics["swd"].mean < bar, f"{record.label} in {row.steps} steps"
            untrained = [p.metrics["swd"] for p in record.curve if p.work == 0 and p.steps == row.steps]
            assert row.steps == 8 or all(value > bar for value in untrained)
            assert untrained or record.method in ("progressive", "ddil")


def test_one_step_is_enough_for_four_of_them(board: list[Record], students: list[Record]) -> None:
    """Within three times the distance of real data, where the means of the modes score three and a half."""
    (real,) = (r.rows[0].metrics["swd"].mean for r in board if r.label == "real")
    (bad,) = (r.rows[0].metrics["swd"].mean for r in board if r.label == "mode-means")
    one_step = {r.method: row.metrics["swd"].mean for r in students for row in r.rows if row.steps == 1}
    assert bad > 3 * real and sum(value < 3 * real for value in one_step.values()) >= 4
