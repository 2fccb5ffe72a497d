"""Limits on a child process, tried on small children without torch; and what counts as a sign of life."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from bench.plugins.apart import GRACE_SECONDS, Pulse, explain
from bench.plugins.supervise import HEAD_BYTES, TAIL_BYTES, Ending, supervise
from bench.progress import PlainReporter

GENEROUS = 10**12


def child(
    code: str, folder: Path, *, patience: float = 60.0, memory: int = GENEROUS
) -> tuple[Ending, list[bytes], bytes]:
    """A Python child; ``tell`` writes a line to its report pipe."""
    begun, lines, output = time.monotonic(), list[bytes](), folder / "output.txt"
    head = "import os, sys, time\ntell = lambda line: os.write(int(sys.argv[1]), line + b'\\n')\n"
    ending = supervise(
        [sys.executable, "-I", "-S", "-c", head + code],
        output=output,
        on_report=lines.append,
        silent=lambda now: now - begun > patience,
        memory_bytes=memory,
    )
    return ending, lines, output.read_bytes()


def test_reports_output_and_status_arrive(tmp_path: Path) -> None:
    code = "tell(b'one'); tell(b'two'); print('said'); print('wrong', file=sys.stderr); sys.exit(3)"
    ending, lines, printed = child(code, tmp_path)
    assert (ending.why, ending.code) == ("exit", 3)
    assert lines == [b"one", b"two"] and sorted(printed.split()) == [b"said", b"wrong"]


def test_death_by_a_signal(tmp_path: Path) -> None:
    ending, lines, _ = child("tell(b'last'); os.kill(os.getpid(), 11)", tmp_path)
    assert (ending.why, ending.code, lines) == ("signal", signal.SIGSEGV, [b"last"])


def test_silence_ends_it_even_when_signals_are_ignored(tmp_path: Path) -> None:
    code = "import signal\nfor s in (2, 14, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    assert child(code, tmp_path, patience=0.5)[0].why == "silent"


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="resident memory is read from /proc")
def test_memory_of_all_its_processes_counts(tmp_path: Path) -> None:
    code = "import time\nif os.fork() == 0:\n    hog = b'x' * 200_000_000\ntime.sleep(60)"
    assert child(code, tmp_path, memory=100_000_000)[0].why == "memory"


def test_a_flood_is_cut_in_the_middle(tmp_path: Path) -> None:
    code = "print('begin'); [print('x' * 99) for _ in range(40_000)]; print('end')"
    ending, _, printed = child(code, tmp_path)
    assert ending.printed == len("begin\nend\n") + 100 * 40_000
    assert len(printed) < HEAD_BYTES + TAIL_BYTES + 100
    assert printed.startswith(b"begin\n") and printed.endswith(b"end\n")
    assert f"[{ending.printed - HEAD_BYTES - TAIL_BYTES} bytes left out]".encode() in printed


def test_what_it_started_ends_with_it_and_does_not_hold_us(tmp_path: Path) -> None:
    code = "pid = os.fork()\nif pid == 0:\n    time.sleep(600)\ntell(str(pid).encode())"
    begun = time.monotonic()
    ending, lines, _ = child(code, tmp_path)
    assert ending.why == "exit" and time.monotonic() - begun < 300
    grandchild = Path(f"/proc/{int(lines[0])}/stat")
    deadline = time.monotonic() + 60
    while grandchild.is_file() and grandchild.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_interrupt_here_kills_it(tmp_path: Path) -> None:
    def interrupted(line: bytes) -> None:
        raise KeyboardInterrupt(line.decode())

    code = "tell(str(os.getpid()).encode()); time.sleep(600)"
    words = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import os, sys, time\ntell = lambda line: os.write(int(sys.argv[1]), line + b'\\n')\n" + code,
    ]
    with pytest.raises(KeyboardInterrupt) as caught:
        supervise(
            words,
            output=tmp_path / "o",
            on_report=interrupted,
            silent=lambda now: False,
            memory_bytes=GENEROUS,
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)


# ------------------------------------------------------------------ signs of life


def pulse(said: list[str] | None = None) -> Pulse:
    return Pulse("mine", PlainReporter((said if said is not None else []).append), step_seconds=1.0)


def test_only_a_growing_share_is_a_sign_of_life_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    alive = pulse()
    alive.report(b'{"stage": "distil"}')
    for now, share, heard in (
        (1.0, 0.1, 1.0),
        (2.0, 0.1, 1.0),
        (3.0, 0.05, 1.0),
        (4.0, 0.2, 4.0),
        (5.0, 9.0, 4.0),
    ):
        clock[0] = now
        alive.report(json.dumps({"share": share, "scalars": {"loss": 1.0}}).encode())
        assert alive.heard == heard
    alive.report(b'{"block": true}')
    assert alive.heard == 4.0 and not alive.silent(4.0 + GRACE_SECONDS)
    assert alive.silent(4.0 + GRACE_SECONDS + 1.5)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\xff\xfe", b"[]", b'"stage"', b'{"stage": 3}', b'{"stage": "\\u001b[31m"}'),
        *(b'{"share": true}', b"[" * 10_000),
    ],
)
def test_junk_on_the_pipe_is_ignored(line: bytes) -> None:
    said: list[str] = []
    alive = pulse(said)
    alive.heard = before = -1.0
    alive.report(line)
    assert (alive.stage, alive.share, alive.heard, said) == ("start", -1.0, before, [])


@pytest.mark.parametrize(
    ("ending", "status", "kind", "said"),
    [
        (Ending("silent", 9, 0), "timeout", "hung", "no progress in distil for 61 s; its process was killed"),
        (Ending("memory", 9, 0), "failed", "out of memory", "took more than 5 MiB and was killed"),
        (Ending("signal", 11, 0), "lost", "killed", "its process died of signal 11"),
        (Ending("exit", 0, 0), "lost", "exit", "its process left with status 0 and no record"),
    ],
)
def test_endings_in_words(ending: Ending, status: str, kind: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "output.txt").write_text("last words\n\x1b[31m")
    alive = pulse()
    alive.report(b'{"stage": "distil"}')
    found, failure = explain(ending, alive, 5 * 2**20, tmp_path / "output.txt")
    assert (found, failure.kind, failure.stage, failure.message) == (status, kind, "distil", said)
    assert failure.traceback == "last words\n[31m"
