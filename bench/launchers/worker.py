"""A process that works on cells of a run: ``python -m bench.launchers.worker REQUEST.json PIPE``.

It is handed one cell after another on its standard input and reports on the pipe. When its input ends it
leaves, also from the middle of a cell: then whoever started it is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

from bench.plugins.child import PipeReporter
from bench.plugins.supervise import Lines
from bench.record import Record
from bench.request import Request, recognised
from bench.workplace import open_cells

INTERRUPTED = 130


class LanePipe(PipeReporter):
    """Also says when a cell has its record."""

    def finished(self, label: str, record: Record, cached: bool = False) -> None:
        self.tell(done=record.cell, cached=cached)


class Orders:
    """Cells that are handed over, one line of JSON each; ``idle`` while none is being worked on."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[bytes] = SimpleQueue()
        self.idle = True
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        lines = Lines()
        while blob := os.read(0, 65536):  # not sys.stdin: its lock would abort the end of the process
            for line in lines.feed(blob):
                self.queue.put(line)
        if not self.idle:
            os._exit(1)
        self.queue.put(b"")

    def next(self) -> dict[str, float | str | None] | None:
        """The next order; None when there will be no more."""
        self.idle = True
        line = self.queue.get()
        self.idle = False
        return json.loads(line) if line else None


def main(words: list[str]) -> int:
    """Work until there is nothing more to do."""
    orders, pipe = Orders(), LanePipe(int(words[1]))
    request = Request.from_json(Path(words[0]).read_text(encoding="utf-8"))
    try:
        runner, cells = open_cells(request, pipe, patient=True)
        while (order := orders.next()) is not None:
            cell, seconds = recognised(cells, str(order["cell"])), order["seconds"]
            if seconds is not None:
                runner.predicted[cell.id] = float(seconds)
            runner.run(cell)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
