"""The state of a run folder, finished or not, as text: readable from another terminal while it runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.events import EVENTS, STATUS
from bench.record import Record, read_record
from bench.report.describe import line_text, record_text
from bench.report.plot import Style
from bench.report.run_curves import metric_plots, progress_plots
from bench.report.text import compact, printable
from bench.store import in_use

LAST_EVENTS = 5
LOST = "no process holds its lock: it was killed; the same command goes on from there"


def is_cell(folder: Path) -> bool:
    """Whether a folder is that of a cell."""
    return (folder / "spec.json").is_file()


def cells_of(root: Path) -> list[Path]:
    """Folders of cells in a folder of runs.

    Raises:
        UsageError: nothing in it that the bench wrote.
    """
    cells = [folder for folder in sorted(root.glob("*@*/*")) if is_cell(folder)]
    if not cells:
        raise UsageError(f"{root}: not a record, a suite file or a run's folder")
    return cells


def cell_text(folder: Path, style: Style | None = None) -> str:
    """One cell: what it is, its state, last events, where its files lie, its curves, and its record if any.

    Raises:
        UsageError: a file of the folder is broken (naming it).
    """
    spec, style = _read(folder / "spec.json")["cell"], style or Style()
    record = finished_record(folder)
    lines = [
        f"cell {folder.name}: {spec['label']} on {spec['suite']}, budget {spec['budget']['name']} "
        f"({compact(spec['budget']['work'])} units), seed {spec['seed']}",
        f"state: {state_text(folder)}",
    ]
    events = folder / EVENTS
    if events.is_file():
        lines += [f"  {event}" for event in events.read_text(encoding="utf-8").splitlines()[-LAST_EVENTS:]]
    for kind, place in _read(folder / "stages.json").items() if (folder / "stages.json").is_file() else []:
        lines.append(f"{kind}: {folder.parent.parent / place}")
    lines = [line_text(line) for line in lines]
    plots = progress_plots(folder, style) if record is None else metric_plots([record], style)
    return "\n".join([*lines, *plots, *(["", record_text(folder / "record.json")] if record else [])])


def runs_text(root: Path, style: Style | None = None) -> str:
    """A whole folder of runs: a line per cell, then the curves of what is finished.

    Raises:
        UsageError: nothing in it that the bench wrote.
    """
    lines, by_suite = [], dict[str, list[Record]]()
    for folder in cells_of(root):
        spec = _read(folder / "spec.json")["cell"]
        lines.append(
            f"{spec['suite']}/{folder.name}  {state_text(folder, brief=True)}  "
            f"{spec['label']}, {spec['budget']['name']}, seed {spec['seed']}"
        )
        if (record := finished_record(folder)) is not None:
            by_suite.setdefault(folder.parent.name, []).append(record)
    plots = []
    for suite, records in by_suite.items():
        drawn = metric_plots(records, style or Style())
        plots += ["", printable(suite), *drawn] if drawn else []
    return "\n".join([*map(line_text, lines), *plots])


def state_text(folder: Path, *, brief: bool = False) -> str:
    """Status, stage, share of the budget, last sign of life, and whether a process is at work."""
    state = _read(folder / STATUS)
    status, stage = f"{state['status']}", f"{state['stage']}"
    running = status == "running"
    told = [f"{state['share']:.0%} of the budget"] if running and "share" in state else []
    if running:
        told.append(f"last sign of life {span(silence(folder))} ago")
        told.append(_holder(folder) if in_use(folder) else LOST)
    if brief:
        told = told if not running or in_use(folder) else [*told[:-1], "killed"]
        return "  ".join([f"{status:9}", f"{stage:8}", *([", ".join(told)] if told else [])])
    return ", ".join([status, f"stage {stage}", *told])


def silence(folder: Path) -> float:
    """Seconds since a cell wrote its state or an event."""
    written = [path.stat().st_mtime for path in (folder / STATUS, folder / EVENTS) if path.is_file()]
    return max(0.0, time.time() - max(written))


def span(seconds: float) -> str:
    """``12 s``, ``3 min``, ``5 h`` or ``2 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def finished_record(folder: Path) -> Record | None:
    """The record of a cell, once there is one."""
    path = folder / "record.json"
    return read_record(path) if path.is_file() else None


def _holder(folder: Path) -> str:
    path = folder / ".holder"
    return path.read_text(encoding="utf-8") if path.is_file() else "a process holds its lock"


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: not readable ({error})") from error
    return dict(value)
