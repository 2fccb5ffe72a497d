"""The page of timings is what its committed measurements say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import benchmark_page
import prediction_table
import pytest
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


@pytest.mark.slow
def test_a_timing_of_a_run_has_its_line_under_its_heading(tmp_path: Path) -> None:
    """Through pytest-benchmark's own file, whose fields are not ours to fix."""
    where, made = str(Path(__file__).with_name("test_benchmarks.py")), tmp_path / "benchmarks.json"
    words = ["-m", "pytest", where, "-k", "start_up and help", "--benchmark-only", f"--benchmark-json={made}"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    text = page(json.loads(made.read_text(encoding="utf-8")))
    heading, line = text.index("\n## Start-up and files\n"), text.index("\n| bench --help |")
    assert heading < line < text.index("\n## How to read it\n")
