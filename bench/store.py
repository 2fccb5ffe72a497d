"""Run folders and the content-addressed store of stages: atomic writes, locks, resume.

    runs/<suite>@<version>/<cell-id>/   spec.json  status.json  events.jsonl  stages.json  record.json
    runs/stages/<kind>/<key>/           what a stage made, and done.json (inputs and digests of its files)

A stage's key is the hash of its inputs and of the code that makes it. A finished stage is never made again;
an unfinished one keeps its checkpoints and goes on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.atomic import write_atomic
from bench.errors import BenchError, UsageError

WAIT_SECONDS = 5.0  # for a folder that another process works on
HOLDER = ".holder"  # in a locked folder: who works on it
LAYOUT = 1  # of run folders; another number is refused, never guessed at


class Locked(BenchError):
    """Another process works on the same folder."""


class Vanished(BenchError):
    """A folder of the store is gone while a cell needs it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder}: vanished during the run (a scratch disk that was cleaned, or lost?); "
            "the same command makes it again"
        )


def digest(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """The output folder of runs.

    Args:
        root: created if missing.
        patient: wait for a stage that another process makes until it is made, as those of one run do.

    Raises:
        UsageError: the folder cannot be written, or was laid out by another version.
    """

    def __init__(self, root: Path, *, patient: bool = False) -> None:
        self.root, self.patient = root, patient
        marker = root / "layout.json"
        with explain_disk(root):
            root.mkdir(parents=True, exist_ok=True)
            if not marker.is_file():
                write_atomic(marker, json.dumps({"layout": LAYOUT}) + "\n")
        found = read_json(marker).get("layout")
        if found != LAYOUT:
            raise UsageError(
                f"{marker}: layout is {found!r}, this version writes {LAYOUT}; choose another --out"
            )

    def cell_folder(self, suite: str, cell: str) -> Path:
        """Folder of a cell (created)."""
        folder = self.root / suite / cell
        with explain_disk(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stage_folder(self, kind: str, inputs: dict[str, Any]) -> Path:
        """Where a stage with these inputs lives, whether made or not."""
        return self.root / "stages" / kind / digest(inputs)[:20]

    def stage(self, kind: str, inputs: dict[str, Any], make: Callable[[Path], None]) -> Path:
        """The folder of a finished stage, made if needed; ``make(folder)`` may find its earlier work there.

        Raises:
            Locked: another process is making it and did not finish within the waiting time.
            BenchError: a finished stage's file does not have its recorded digest.
        """
        folder = self.stage_folder(kind, inputs)
        done = folder / "done.json"
        with explain_disk(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            if not done.is_file():
                with locked(folder, patient=self.patient):
                    if not done.is_file():
                        with still_there(folder):
                            make(folder)
                        files = {p.name: file_digest(p) for p in sorted(folder.iterdir()) if is_result(p)}
                        write_atomic(done, json.dumps({"inputs": inputs, "files": files}, indent=1) + "\n")
        with suppress(OSError):  # a store that is only read from still serves
            os.utime(done)  # when it was last used
        for name, expected in read_json(done)["files"].items():
            path = folder / name
            found = file_digest(path) if path.is_file() else "no file"
            if found != expected:
                raise BenchError(
                    f"{path}: damaged: sha256 found {found}, expected {expected}; "
                    f"delete the folder {folder} to remake it"
                )
        return folder

    def lost(self, stages: Iterable[str]) -> Vanished | None:
        """The first of some finished stages, by its path in the store, that is no longer there."""
        for folder in (self.root / path for path in stages):
            if not (folder / "done.json").is_file():
                return Vanished(folder)
        return None


def in_use(folder: Path, name: str = ".lock") -> bool:
    """Whether a process holds the folder's lock (or it cannot be told, for want of permission)."""
    path = folder / name
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):
        return True
    lock.release()
    return False


def is_result(path: Path) -> bool:
    """Whether a file in a stage folder is part of its result (not a lock, a checkpoint or half a file)."""
    return path.is_file() and not path.name.startswith(".") and not path.name.startswith("checkpoint")


@contextmanager
def locked(folder: Path, *, patient: bool = False) -> Iterator[None]:
    """Hold the folder alone; after ``WAIT_SECONDS``, or never if patient, raise Locked naming the holder."""
    lock, holder = FileLock(folder / ".lock"), folder / HOLDER
    try:
        lock.acquire(timeout=-1 if patient else WAIT_SECONDS)
    except Timeout as error:
        who = holder.read_text() if holder.is_file() else "another process"
        raise Locked(f"{folder}: in use by {who}; wait for it, or choose another --out") from error
    try:
        holder.write_text(
            f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%H:%M:%S')}"
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def still_there(folder: Path) -> Iterator[None]:
    """Raise Vanished if a locked folder is lost inside; what was put there since goes: it is not whole."""
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    if not (folder / HOLDER).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        raise Vanished(folder) from failed
    if failed is not None:
        raise failed


@contextmanager
def explain_disk(root: Path) -> Iterator[None]:
    """Turn disk errors into one sentence."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space and run again, finished stages are kept",
            errno.EACCES: "no permission to write; choose another --out",
            errno.EROFS: "the file system is read-only; choose another --out",
            errno.ENOTDIR: "a file stands where a folder is needed; choose another --out",
            errno.EEXIST: "a file stands where a folder is needed; choose another --out",
        }
        if error.errno not in reasons:
            raise
        raise UsageError(f"{error.filename or root}: {reasons[error.errno]}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file the bench wrote.

    Raises:
        BenchError: unreadable or broken (naming the file).
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BenchError(f"{path}: not readable as JSON ({error}); delete it to remake it") from error
    if not isinstance(value, dict):
        raise BenchError(f"{path}: found {type(value).__name__}, expected a JSON object")
    return value
