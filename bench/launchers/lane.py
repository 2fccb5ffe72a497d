"""A worker process as the run sees it: it is handed cells, and what it reports reaches a reporter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.cell import Cell
from bench.plugins.apart import Pulse
from bench.plugins.supervise import begin
from bench.progress import Reporter
from bench.record import Failure, read_record
from bench.store import Store

TAIL = 2000  # characters of what a dead worker printed
GRACE_SECONDS = 30.0  # to save its state after an interrupt


class Lane:
    """Runs cells in a process of its own, which is started when it is needed, and again when it died.

    Args:
        words: the command of a worker; the number of the pipe it reports on is added.
        printed: file for what it prints.
    """

    def __init__(self, words: Sequence[str], printed: Path, store: Store, reporter: Reporter) -> None:
        self.words, self.printed, self.store, self.reporter = words, printed, store, reporter
        self.process: subprocess.Popen[bytes] | None = None
        self.reports: IO[bytes] | None = None

    def run(self, cell: Cell, seconds: float | None) -> Failure | None:
        """One cell to its record; returns a failure if the process died under it."""
        process, reports = self._started()
        pulse = Pulse(cell.label, self.reporter, cell.budget.step_seconds)
        with suppress(BrokenPipeError):  # it died since: the pipe of its reports ends too
            assert process.stdin is not None
            process.stdin.write(json.dumps({"cell": cell.id, "seconds": seconds}).encode() + b"\n")
            process.stdin.flush()
        for line in reports:
            said = json.loads(line)
            if said.get("done") == cell.id:
                path = self.store.cell_folder(cell.suite.id, cell.id) / "record.json"
                self.reporter.finished(cell.label, read_record(path), cached=said["cached"])
                return None
            pulse.report(line)
        return self._death(pulse.stage)

    def _started(self) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        if self.process is None or self.reports is None:
            with self.printed.open("wb") as printed:
                self.process, reading = begin(self.words, printed)
            self.reports = os.fdopen(reading, "rb")
        return self.process, self.reports

    def _death(self, stage: str) -> Failure:
        assert self.process is not None
        code = self.process.wait()
        self._forget()
        how = f"died of signal {-code}" if code < 0 else f"left with status {code}"
        printed = self.printed.read_text(encoding="utf-8", errors="replace")[-TAIL:]
        last = "".join(c for c in printed if c.isprintable() or c == "\n")
        return Failure(
            stage=stage, kind="killed" if code < 0 else "exit", message=f"its process {how}", traceback=last
        )

    def interrupt(self) -> None:
        """Ask the process to save its state and leave."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let the process go; one that does not leave is killed."""
        process = self.process
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._forget()

    def _forget(self) -> None:
        if self.reports is not None:
            self.reports.close()
        if self.process is not None and self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        self.process = self.reports = None
