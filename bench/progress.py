"""What a person sees while cells run: a live tree on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from bench.record import Record

PLAIN_SECONDS = 15.0  # between plain progress lines


class Reporter(Protocol):
    """Receives what happens, in order."""

    def started(self, label: str, number: int, total: int) -> None: ...
    def stage(self, label: str, stage: str) -> None: ...
    def training(self, label: str) -> Callable[[float, dict[str, float]], None]: ...
    def finished(self, label: str, record: Record, cached: bool = False) -> None: ...
    def close(self) -> None: ...


def outcome(record: Record, cached: bool, primary: str | None) -> str:
    """One line on a finished cell, with the metric that ranks (stored metrics come in any order)."""
    if record.failure is not None:
        return f"{record.status} in {record.failure.stage}: {record.failure.message}"
    rows = [
        f"{f'{row.steps} steps ' if row.steps else ''}{primary} {row.metrics[primary].mean:.4g}"
        for row in record.rows
        if primary in row.metrics
    ]
    return f"{record.status}{' (already done)' if cached else ''}{': ' if rows else ''}{', '.join(rows)}"


class PlainReporter:
    """One line an event; training lines at most every ``PLAIN_SECONDS``.

    Args:
        primary: metric told of a finished cell.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda line: print(line, flush=True), primary: str | None = None
    ) -> None:
        self.say, self.primary = say, primary
        self.position = ""

    def started(self, label: str, number: int, total: int) -> None:
        self.position = f"[{number + 1}/{total}]"

    def stage(self, label: str, stage: str) -> None:
        """Stages are short next to a training; only the training speaks."""

    def training(self, label: str) -> Callable[[float, dict[str, float]], None]:
        begun = spoken = time.monotonic()
        first: float | None = None

        def report(share: float, scalars: dict[str, float]) -> None:
            nonlocal spoken, first
            now = time.monotonic()
            first = share if first is None else first
            if now - spoken >= PLAIN_SECONDS:
                spoken = now
                left = eta(share - first, 1 - share, now - begun)
                values = ", ".join(f"{key} {value:.4g}" for key, value in scalars.items())
                self.say(f"{self.position} {label}: {share:4.0%} of the budget, {left} left, {values}")

        return report

    def finished(self, label: str, record: Record, cached: bool = False) -> None:
        self.say(f"{self.position} {label}: {outcome(record, cached, self.primary)}")

    def close(self) -> None:
        """Nothing to release."""


class LiveReporter:
    """A tree of cells with a budget bar, redrawn in place (rich).

    Args:
        primary: metric told of a finished cell.
        beside: a reporter of the same run, whose tree this one shares.
    """

    bars: Any  # rich's, imported where it is used
    whole: Any

    def __init__(self, primary: str | None, beside: LiveReporter | None = None) -> None:
        self.primary, self.cell = primary, None
        if beside is not None:
            self.bars, self.whole = beside.bars, beside.whole
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self.bars.start()
        self.whole = self.bars.add_task("cells", total=None)

    def started(self, label: str, number: int, total: int) -> None:
        self.bars.update(self.whole, total=total, description=f"cells {number + 1}/{total}")
        self.cell = self.bars.add_task(f"└─ {label}", total=1.0)

    def stage(self, label: str, stage: str) -> None:
        self.bars.update(self.cell, description=f"└─ {label} · {stage}")

    def training(self, label: str) -> Callable[[float, dict[str, float]], None]:
        def report(share: float, scalars: dict[str, float]) -> None:
            self.bars.update(self.cell, completed=share)

        return report

    def finished(self, label: str, record: Record, cached: bool = False) -> None:
        if self.cell is not None:
            self.bars.remove_task(self.cell)
            self.cell = None
        self.bars.advance(self.whole)
        self.bars.print(f"├─ {label}: {outcome(record, cached, self.primary)}", markup=False, highlight=False)

    def close(self) -> None:
        self.bars.stop()


def eta(done: float, left: float, seconds: float) -> str:
    """Time left at the pace so far, as m:ss."""
    if done <= 0:
        return "unknown time"
    minutes, rest = divmod(round(seconds * left / done), 60)
    return f"{minutes}:{rest:02d}"


def reporters(lanes: int, primary: str | None) -> list[Reporter]:
    """One for each lane of a run: a live tree that they share on a terminal, plain lines otherwise."""
    if not sys.stderr.isatty():
        return [PlainReporter(primary=primary) for _ in range(lanes)]
    first = LiveReporter(primary)
    return [first, *(LiveReporter(primary, first) for _ in range(lanes - 1))]
