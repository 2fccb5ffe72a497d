"""How a rank's part in a cell ends: as on the other ranks, or with its process.

A rank that fails alone leaves the others in an exchange that it does not take part in. It notes the failure
in the cell's folder and ends its process; torchrun ends the others and starts all again, and then the cell
gets a record from the note while the other cells go on.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench.atomic import write_atomic
from bench.distributed.group import Group
from bench.errors import BenchError
from bench.failures import failure_of
from bench.record import Failure, Status
from bench.store import read_json
from bench.suite import Suite

NOTE = "ranks.json"
RESTARTS = 3  # of all processes, for one cell
LOST = 1  # exit status of a process that must be started again
STAGES = {"draw": "sample", "score": "metrics"}  # others are parts of the training


@dataclass(frozen=True)
class Part:
    """A rank's part in a cell.

    Attributes:
        folder: of the cell, which the ranks share.
    """

    group: Group
    suite: Suite
    folder: Path

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Inside, this rank does something with the others; an exception leaves it if it does so on all."""
        try:
            yield
        except Exception as error:
            if not self.group.in_step(what, failed=True):
                self._end(what, error)
            raise
        if not self.group.in_step(what, failed=False):
            self._end(what, None)

    def _end(self, what: str, error: Exception | None) -> NoReturn:
        """End the process: what the ranks exchange no longer fits together."""
        said = f"{self._name}: another rank failed or was lost"
        try:
            if error is not None and (isinstance(error, BenchError) or not self.group.log.broken):
                status, failure = failure_of(STAGES.get(what, "distil"), error, self.suite)
                said = f"{self._name} failed and others did not: {failure.message}"
                self._note(status, failure.model_copy(update={"message": said}))
        finally:
            print(f"error: {said}", file=sys.stderr, flush=True)
            os._exit(LOST)  # without waiting for exchanges that will not come

    @property
    def _name(self) -> str:
        return f"rank {self.group.rank} on {socket.gethostname()}"

    # ------------------------------------------------------------------ notes

    def begin(self) -> tuple[Status, Failure] | None:
        """Count a beginning of the cell; returns the failure for which it is not begun again in this run."""
        said = self._said()
        if "failure" in said:
            return said["status"], Failure.model_validate(said["failure"])
        if said["begun"] > RESTARTS:
            message = f"a process was lost each of the {said['begun']} times that the cell was begun"
            return "lost", Failure(stage="distil", kind="killed", message=message)
        self._write({"begun": said["begun"] + 1})
        return None

    def _note(self, status: Status, failure: Failure) -> None:
        self._write({**self._said(), "status": status, "failure": failure.model_dump(mode="json")})

    def _said(self) -> dict[str, Any]:
        path = self.folder / NOTE
        return read_json(path) if path.is_file() else {"begun": 0}

    def _write(self, said: dict[str, Any]) -> None:
        write_atomic(self.folder / NOTE, json.dumps(said) + "\n")


def forget(folder: Path) -> None:
    """Remove what was noted in a cell's folder."""
    (folder / NOTE).unlink(missing_ok=True)


def started_again() -> bool:
    """Whether torchrun started this process after it lost one (of several nodes, one of this node)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
