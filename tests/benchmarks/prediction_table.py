"""The table of prediction errors in docs/cost.md from docs/prediction.json, made so (some three minutes):

pytest tests/benchmarks/test_training_steps.py --benchmark-only -m "" -k test_step \
    --benchmark-json=docs/prediction.json
python tests/benchmarks/prediction_table.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmark_page import MEASURED
from timing import told

PLAN = "what bench plan predicts"
TABLE = re.compile(r"Measured on (?:.+\n)+\n(?:\|.*\n)+")
PAGE = MEASURED.with_name("cost.md")
FACTS = "Measured on {date} in processor time: {processor},\none thread, torch {torch}, code {code}."


def table(measured: dict[str, Any]) -> str:
    """Machine and rows of a run."""
    rows = [
        f"| {row['what']} | {told(row['median'] / ratio)} | {told(row['median'])} | {ratio - 1:+.0%} |"
        for row in measured["rows"]
        if (ratio := row["ratios"].get(PLAN))
    ]
    head = ["| training step | predicted | took | error |", "|---|---:|---:|---:|"]
    return FACTS.format(**measured["machine"]) + "\n\n" + "\n".join([*head, *rows]) + "\n"


def measured() -> dict[str, Any]:
    """The committed run."""
    found: dict[str, Any] = json.loads(Path(MEASURED.with_name("prediction.json")).read_text("utf-8"))
    return found


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(measured()), PAGE.read_text("utf-8"), count=1), "utf-8")
