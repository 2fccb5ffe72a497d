"""What a cell tells while it runs: a log of events, and a sign of life for whoever looks from elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.atomic import write_atomic

EVENTS, STATUS = "events.jsonl", "status.json"
ALWAYS = {"time": "UTC, ISO 8601", "event": "kind"}
KINDS: dict[str, dict[str, str]] = {  # fields by kind, with their meaning; docs/records.md lists them
    "stage": {"stage": "stage that begins"},
    "progress": {
        "share": "of the budget spent",
        "scalars": "what the method returned from its latest step, numbers by name",
    },
    "failed": {"stage": "where it failed", "message": "why, one sentence"},
    "interrupted": {"stage": "where it was interrupted from the keyboard"},
    "finished": {
        "status": "that of the record",
        "seconds": "from start to record, of this attempt",
        "predicted_seconds": "estimated beforehand; absent where nothing was estimated",
    },
}
OPTIONAL = {"predicted_seconds"}
SHARE_STEP = 0.01  # of the budget between two progress events
BEAT_SECONDS = 5.0  # between two signs of life in a training


class Events:
    """Append-only log of a cell: one JSON object a line, flushed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **values: Any) -> None:
        """Append one event with the time; raises ValueError for a kind or fields that are not documented."""
        known = KINDS.get(kind, {}).keys()
        if not (known and known - OPTIONAL <= values.keys() <= known):
            raise ValueError(f"event {kind!r} with {sorted(values)}: not one of those in KINDS")
        line = json.dumps(
            {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind, **values}
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)  # it may have been lost with a scratch disk
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def write_status(folder: Path, status: str, stage: str, share: float | None = None) -> None:
    """Replace a cell's state; ``share`` of the budget is told while it trains."""
    told = {} if share is None else {"share": round(share, 6)}
    write_atomic(folder / STATUS, json.dumps({"status": status, "stage": stage, **told}) + "\n")


class Heartbeat:
    """A training's reports, also written into the cell's folder: state every few seconds, events by share."""

    def __init__(self, folder: Path, events: Events, then: Callable[[float, dict[str, float]], None]) -> None:
        self.folder, self.events, self.then = folder, events, then
        self.beaten, self.noted = -BEAT_SECONDS, float("-inf")

    def __call__(self, share: float, scalars: dict[str, float]) -> None:
        """Take in the share of the budget spent and the latest scalars."""
        self.then(share, scalars)
        now = time.monotonic()
        if now - self.beaten >= BEAT_SECONDS:
            self.beaten = now
            write_status(self.folder, "running", "distil", share)
        if share - self.noted >= SHARE_STEP:
            self.noted = share
            self.events.write("progress", share=round(share, 6), scalars=scalars)
