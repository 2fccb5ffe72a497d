"""A child process under limits: silence, memory, output. It is killed with all it started; no numerics here.

The child reports on a pipe of its own; what it prints goes into a file of bounded size. Nothing it does to
its own memory, threads or settings reaches this process.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

POLL_SECONDS = 0.1
HEAD_BYTES, TAIL_BYTES = 256_000, 64_000  # of what a child prints: kept from its beginning, from its end
LINE_BYTES = 1_000_000  # a longer report is no report
DRAIN_SECONDS = 2.0  # for what is left in the pipes of a child that has ended

Why = Literal["exit", "signal", "silent", "memory"]


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        why: it exited, died of a signal, or was killed for silence or for its memory.
        code: exit status, or number of the signal; printed: bytes it wrote.
    """

    why: Why
    code: int
    printed: int


@dataclass
class Output:
    """What a child prints: a file with the beginning and the end, and a note on what was left out."""

    path: Path
    total: int = 0
    head: int = 0
    tail: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.path.write_bytes(b"")

    def add(self, blob: bytes) -> None:
        """Take in some bytes."""
        self.total += len(blob)
        room = HEAD_BYTES - self.head
        if room > 0:
            with self.path.open("ab") as stream:
                stream.write(blob[:room])
            self.head += len(blob[:room])
        self.tail += blob[max(0, room) :]
        del self.tail[:-TAIL_BYTES]

    def close(self) -> None:
        """Write the end."""
        left_out = self.total - self.head - len(self.tail)
        with self.path.open("ab") as stream:
            stream.write(f"\n[{left_out} bytes left out]\n".encode() if left_out else b"")
            stream.write(self.tail)


class Lines:
    """Whole lines from blobs of a pipe; one that grows too long is dropped."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, blob: bytes) -> list[bytes]:
        """Lines that are complete now."""
        *lines, self.rest = (self.rest + blob).split(b"\n")
        if len(self.rest) > LINE_BYTES:
            self.rest = b""
        return lines


@dataclass
class Child:
    """A running child and its pipes."""

    process: subprocess.Popen[bytes]
    reports: int
    output: Output
    on_report: Callable[[bytes], None]
    open_pipes: set[int] = field(default_factory=set)

    def read(self, wait: float, selector: selectors.BaseSelector, lines: Lines) -> bool:
        """Take in what lies in the pipes; whether anything did."""
        events = selector.select(wait)
        for key, _ in events:
            blob = os.read(key.fd, 65536)
            if not blob:
                selector.unregister(key.fd)
                self.open_pipes.discard(key.fd)
            elif key.fd == self.reports:
                for line in lines.feed(blob):
                    self.on_report(line)
            else:
                self.output.add(blob)
        return bool(events)


def begin(words: Sequence[str], printed: int | IO[bytes]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command in a session of its own; returns it and the end of the pipe that it reports on.

    The number of its own end is added to the words. When this process is gone, its standard input ends.

    Args:
        printed: where its output goes.
    """
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*words, str(writing)],
        stdin=subprocess.PIPE,
        stdout=printed,
        stderr=subprocess.STDOUT,
        pass_fds=(writing,),
        start_new_session=True,  # an interrupt at the terminal does not reach it past us
    )
    os.close(writing)
    return process, reading


def supervise(
    words: Sequence[str],
    *,
    output: Path,
    on_report: Callable[[bytes], None],
    silent: Callable[[float], bool],
    memory_bytes: int,
) -> Ending:
    """Run a command to its end and say how it ended; on any exception here the child is killed first.

    Args:
        words: the command; the number of the pipe it may report on is added.
        output: file for what it prints.
        on_report: called with every line it reports.
        silent: whether it has been quiet for too long, asked with the present time.
        memory_bytes: resident memory at which it and what it started are killed.
    """
    process, reading = begin(words, subprocess.PIPE)  # its input is never written, only closed
    child = Child(process, reading, Output(output), on_report)
    try:
        return watch(child, silent, memory_bytes)
    finally:
        end_group(process)
        child.output.close()
        os.close(reading)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def watch(child: Child, silent: Callable[[float], bool], memory_bytes: int) -> Ending:
    """Follow a child until it ends or a limit is reached."""
    process, lines = child.process, Lines()
    assert process.stdout is not None
    why: Why | None = None
    with selectors.DefaultSelector() as selector:
        for fd in (child.reports, process.stdout.fileno()):
            selector.register(fd, selectors.EVENT_READ)
            child.open_pipes.add(fd)
        checked = 0.0
        while process.poll() is None and why is None:
            child.read(POLL_SECONDS, selector, lines) if child.open_pipes else time.sleep(POLL_SECONDS)
            now = time.monotonic()
            if now - checked > POLL_SECONDS:
                checked = now
                why = "memory" if resident_bytes(process.pid) > memory_bytes else None
                why = "silent" if why is None and silent(now) else why
        end_group(process)
        begun = time.monotonic()
        while child.open_pipes and time.monotonic() - begun < DRAIN_SECONDS:
            if not child.read(POLL_SECONDS, selector, lines):
                break
    code = process.wait()
    if why is not None:
        return Ending(why, abs(code), child.output.total)
    return Ending("signal" if code < 0 else "exit", abs(code), child.output.total)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and what it started in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def resident_bytes(session: int) -> int:
    """Resident memory of a session's processes, from ``/proc``; 0 where there is none (macOS)."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def free_bytes() -> int:
    """Memory that this machine could give to new processes now."""
    info = Path("/proc/meminfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
