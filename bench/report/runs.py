"""The state of a run folder, finished or not, as text: readable from another terminal while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.report.describe import record_text
from bench.report.text import compact, printable

LAST_EVENTS = 5


def is_cell(folder: Path) -> bool:
    """Whether a folder is that of a cell."""
    return (folder / "spec.json").is_file()


def cell_text(folder: Path) -> str:
    """One cell: what it is, its state, last events, where its files lie, and its record once there is one.

    Raises:
        UsageError: a file of the folder is broken (naming it).
    """
    spec, state = _read(folder / "spec.json")["cell"], _read(folder / "status.json")
    lines = [
        f"cell {folder.name}: {spec['label']} on {spec['suite']}, budget {spec['budget']['name']} "
        f"({compact(spec['budget']['work'])} units), seed {spec['seed']}",
        f"state: {state['status']}, stage {state['stage']}",
    ]
    events = folder / "events.jsonl"
    if events.is_file():
        lines += [f"  {event}" for event in events.read_text().splitlines()[-LAST_EVENTS:]]
    for kind, place in _read(folder / "stages.json").items() if (folder / "stages.json").is_file() else []:
        lines.append(f"{kind}: {folder.parent.parent / place}")
    if (folder / "record.json").is_file():
        lines += ["", record_text(folder / "record.json")]
    return "\n".join(printable(line) for line in "\n".join(lines).splitlines())


def runs_text(root: Path) -> str:
    """A whole runs folder: a line per cell.

    Raises:
        UsageError: nothing in it that the bench wrote.
    """
    cells = [folder for folder in sorted(root.glob("*@*/*")) if is_cell(folder)]
    if not cells:
        raise UsageError(f"{root}: not a record, a suite file or a run's folder")
    lines = []
    for folder in cells:
        spec, state = _read(folder / "spec.json")["cell"], _read(folder / "status.json")
        lines.append(
            f"{spec['suite']}/{folder.name}  {state['status']:9}  {state['stage']:8}  "
            f"{spec['label']}, {spec['budget']['name']}, seed {spec['seed']}"
        )
    return "\n".join(map(printable, lines))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: not readable ({error})") from error
    return dict(value)
