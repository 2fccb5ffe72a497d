"""What finished cells took, beside what was predicted for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cell import Cell
from bench.cost.words import clock
from bench.events import EVENTS


def seconds_of(folder: Path) -> float | None:
    """Seconds from start to record by a cell's log; None if it is not finished, or was not in one go."""
    path = folder / EVENTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    events = [json.loads(line) for line in lines]
    trained = sum(one.get("stage") == "distil" for one in events if one["event"] == "stage")
    if trained > 1 or not events or events[-1]["event"] != "finished" or events[-1]["status"] != "ok":
        return None
    return float(events[-1]["seconds"])


def prediction_error(runs: Path, cells: Sequence[Cell], predicted: Mapping[str, float]) -> str | None:
    """One sentence on the seconds predicted for cells and those they took; None if none of them is finished.

    Args:
        runs: folder of the runs; predicted: seconds by cell id.
    """
    pairs = [
        (predicted[cell.id], took)
        for cell in cells
        if predicted.get(cell.id) and (took := seconds_of(runs / cell.suite.id / cell.id)) is not None
    ]
    if not pairs:
        return None
    errors = sorted(took / expected - 1 for expected, took in pairs)
    expected, took = (sum(column) for column in zip(*pairs, strict=True))
    return (
        f"predicted {clock(expected)}, took {clock(took)} ({took / expected - 1:+.0%}; "
        f"finished cells: {len(pairs)}, each {errors[0]:+.0%} to {errors[-1]:+.0%})"
    )
