"""What a person sees while files are fetched: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from bench.assets.registry import Asset
from bench.report.text import compact, printable

SHARE = 0.1  # of a file between plain lines


class PlainWatcher:
    """A line for every tenth of a file; of unknown sizes, for every doubling."""

    def __init__(self) -> None:
        self.next: dict[str, float] = {}

    def say(self, line: str) -> None:
        print(printable(line), flush=True)

    def bytes(self, asset: Asset, done: int, total: int | None) -> None:
        due = self.next.get(asset.id, 0.0)
        if done < due:
            return
        if total:
            self.next[asset.id] = done + SHARE * total
            self.say(f"         {asset.id}  {done / total:4.0%} of {compact(total)}B")
        else:
            self.next[asset.id] = 2.0 * done
            self.say(f"         {asset.id}  {compact(done)}B")

    def close(self) -> None:
        """Nothing to release."""


class LiveWatcher:
    """A bar for each file, with speed and time left (rich)."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        self.bars = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
        self.tasks: dict[str, Any] = {}

    def say(self, line: str) -> None:
        self.bars.console.print(printable(line), markup=False, highlight=False)

    def bytes(self, asset: Asset, done: int, total: int | None) -> None:
        self.bars.start()
        if asset.id not in self.tasks:
            self.tasks[asset.id] = self.bars.add_task(asset.id, total=total)
        self.bars.update(self.tasks[asset.id], completed=done, total=total)

    def close(self) -> None:
        self.bars.stop()


def watcher() -> PlainWatcher | LiveWatcher:
    """Bars on a terminal, plain lines otherwise."""
    return LiveWatcher() if sys.stderr.isatty() else PlainWatcher()
