"""The page of timings is what its committed measurements say."""

from __future__ import annotations

import json

import benchmark_page
import prediction_table
from benchmark_page import MEASURED, page


def test_the_page_is_made_from_the_committed_measurements() -> None:
    made = page(json.loads(MEASURED.read_text(encoding="utf-8")))
    again = f"make it again: python {benchmark_page.__file__}"
    assert MEASURED.with_suffix(".md").read_text(encoding="utf-8") == made, again


def test_prediction_errors_are_the_measured_ones() -> None:
    made = prediction_table.table(prediction_table.measured())
    again = f"make it again: python {prediction_table.__file__}"
    assert made in prediction_table.PAGE.read_text(encoding="utf-8"), again
    assert made.count("\n|") >= 2 + 7


def test_what_was_not_measured_is_said() -> None:
    machine = {"processor": "p", "threads": 2, "torch": "t", "code": "c", "date": "d", "load": 1.0}
    row = {"part": "A step", "what": "sid", "median": 0.0123, "aims": {"theirs": 0.77}}
    text = page({"machine": machine, "rows": [{**row, "ratios": {"theirs": None, "alone": 1.049}}]})
    assert "| sid | 12.3 ms | theirs | not measured | ≤ 0.77 |\n" in text
    assert "| sid | 12.3 ms | alone | 1.05 |  |\n" in text
