"""The question before a run that takes more than a day of its device."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from bench.cell import Cell
from bench.cost.calibration import calibrate
from bench.cost.estimate import batch_sizes, estimates
from bench.cost.words import span
from bench.errors import UsageError
from bench.lab import Lab
from bench.report.text import compact

DAY = 86_400.0
SLOWEST = 1e9  # FLOP/s that any device reaches: cells below a day at this speed are not worth a measurement


def consent(lab: Lab, cells: Sequence[Cell], *, agreed: bool) -> dict[str, float]:
    """Ask before more than a day is spent; returns predicted seconds by cell id, none for a short run.

    Args:
        cells: that are not finished yet.
        agreed: beforehand, with ``--yes``: predicted all the same.

    Raises:
        UsageError: nobody is there to ask, or the answer is no.
    """
    lines = estimates(cells)
    units = sum(line.units for line in lines)
    if units * lab.reference_flops / SLOWEST <= DAY:
        return {}
    speed = calibrate(lambda: lab.net, lab.space, lab.reference_flops, batch_sizes(lines), lab.device)
    predicted = {line.cell.id: line.seconds(speed) for line in lines}
    total = sum(predicted.values())
    if total > DAY and not agreed:
        what = "a GPU" if lab.device.type == "cuda" else "this machine"
        _ask(
            f"this run would take about {span(total)} of {what} ({speed.device}): {len(lines)} cells, "
            f"{compact(units)} work units of {compact(lab.reference_flops)}FLOP. Less with another --budget, "
            "fewer --method, --nfe or --seeds, or --smoke; 'bench plan' with the same options shows the cells"
        )
    return predicted


def _ask(said: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{said}. To start it all the same, add --yes")
    if not typer.confirm(f"{said}. Start it?", err=True):
        raise UsageError("not started")
