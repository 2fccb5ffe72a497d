"""What there is to plot of runs: metrics against work once a cell is finished, scalars while it trains."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from bench.errors import UsageError
from bench.events import EVENTS
from bench.record import Record
from bench.report.curves import line_name
from bench.report.plot import Points, Style, plot
from bench.suite import load_suite

SCALARS = 3  # plotted of a training; the values of all are said


def progress(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Scalars of a cell's training by name, against the share of the budget.

    A later attempt replaces what an earlier one did beyond the point where it went on. Lines of the log that
    are broken (a process killed while it wrote) are left out.
    """
    told: list[tuple[float, dict[str, float]]] = []
    path = folder / EVENTS
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
            if event["event"] != "progress":
                continue
            share, scalars = float(event["share"]), {k: float(v) for k, v in event["scalars"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        while told and told[-1][0] >= share:
            told.pop()
        told.append((share, scalars))
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for share, scalars in told:
        for name, value in scalars.items():
            found[name].append((share, value))
    return dict(found)


def primary(record: Record) -> str:
    """The metric that the suite ranks by; of a suite that is not known here, the first of the record."""
    named = list(record.rows[0].metrics if record.rows else record.curve[0].metrics)
    try:
        key = load_suite(record.suite).primary
    except UsageError:  # of a file or package that is not here
        return named[0]
    return key if key in named else named[0]


def metric_curves(records: Sequence[Record]) -> dict[tuple[str, int], dict[str, Points]]:
    """Curves of students by (metric, steps), then by name: the mean over seeds, against training work."""
    seeds: dict[tuple[str, int, str], list[list[tuple[float, float]]]] = defaultdict(list)
    several = len({r.budget for r in records}) > 1
    for record in records:
        if record.kind != "student" or not record.curve:
            continue
        key, line = primary(record), line_name(record.label)
        name = f"{line}, {record.budget}" if several else line
        for steps in sorted({point.steps for point in record.curve}):
            points = [(p.work, p.metrics[key]) for p in record.curve if p.steps == steps and key in p.metrics]
            seeds[key, steps, name].append(sorted(points))
    found: dict[tuple[str, int], dict[str, Points]] = defaultdict(dict)
    for (key, steps, name), runs in sorted(seeds.items()):
        found[key, steps][name] = [
            (mean(w for w, _ in points), mean(v for _, v in points)) for points in zip(*runs, strict=False)
        ]
    return dict(found)


def metric_plots(records: Sequence[Record], style: Style) -> list[str]:
    """A plot for each step count."""
    lines: list[str] = []
    for (key, steps), curves in metric_curves(records).items():
        title = f"{key}, {steps} step{'s' if steps != 1 else ''}"
        lines += ["", *plot(title, "training work", curves, style)]
    return lines


def progress_plots(folder: Path, style: Style) -> list[str]:
    """Plots of the first scalars of a training, and the latest value of each."""
    found = progress(folder)
    lines: list[str] = []
    for name in list(found)[:SCALARS]:
        if len(found[name]) > 1:
            lines += ["", *plot(name, "share of the budget", {"": found[name]}, style, log=False)]
    latest = ", ".join(f"{name} {points[-1][1]:.4g}" for name, points in found.items())
    return [*lines, f"latest: {latest}"] if latest else []
