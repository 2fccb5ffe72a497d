"""An iteration shared out over processes beside that of one, at the same batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from timing import Beside, Took

HERE = Path(__file__).resolve().parent


def iterations(processes: int, suite: str, selector: str, count: int, folder: Path, *, part: int = 1) -> Took:
    """Seconds of an iteration by so many processes with one thread each, by the clock of the wall."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(processes):
        own = {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]), "OMP_NUM_THREADS": "1"}
        if processes > 1:
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            own |= {"RANK": str(rank), "WORLD_SIZE": str(processes), **place}
        words = [sys.executable, str(HERE / "ranks.py"), suite, selector, str(count), str(folder), str(part)]
        ranks.append(subprocess.Popen(words, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True))
    said = [rank.communicate()[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * processes
    return Took(said[0])


@pytest.mark.parametrize("selector", ["sid", "dmd2"])
def test_two_processes(beside: Beside, selector: str, tmp_path: Path) -> None:
    beside(
        "Several processes, by the clock of the wall",
        f"{selector} on digits, two gloo processes of one thread",
        lambda: iterations(2, "digits", selector, 10, tmp_path),
        {
            "one process of one thread": lambda: iterations(1, "digits", selector, 10, tmp_path),
            "that one on half the batch": lambda: iterations(1, "digits", selector, 10, tmp_path, part=2),
        },
        aims={"one process of one thread": 0.625},
        rounds=3,
        warm=0,
    )


@pytest.mark.slow
def test_ranks_say_how_long_an_iteration_took(tmp_path: Path) -> None:
    for processes in (1, 2):
        assert iterations(processes, "gmm2d", "sid", 2, tmp_path) > 0
