"""``bench.launchers.ranks`` with trouble on one rank: ``TROUBLE="KIND RANK FILE"``.

FILE gets a line for every process that is started, and for the trouble: who, and when.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

KIND, RANK, FILE = os.environ["TROUBLE"].split()


def note(who: str) -> None:
    with Path(FILE).open("a") as stream:
        stream.write(f"{who} {time.time()}\n")


note(os.environ["RANK"])  # before imports, which take their time

import bench.distributed.group  # noqa: E402
from bench.errors import AssetError  # noqa: E402
from bench.launchers import ranks, torchrun  # noqa: E402
from bench.training import Training  # noqa: E402


def of_another_version() -> None:
    torchrun.__version__ = "0.0.1"  # type: ignore[attr-defined]


def without_the_teacher() -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise AssetError("teacher.bin: no such file; fetch it")

    ranks.open_cells = missing  # type: ignore[attr-defined]


def out_of_memory() -> None:
    raise MemoryError("all of it is taken")


def killed() -> None:
    os.kill(os.getpid(), 9)


def during_sid(trouble: Any) -> None:
    """Between two exchanges of SiD's trainings, each time."""
    iterate = Training.iterate

    def wrong(self: Training) -> dict[str, float]:
        if self.method.name == "sid" and self.context.iteration == 3:
            note("trouble")
            trouble()
        return iterate(self)

    Training.iterate = wrong  # type: ignore[method-assign]


if __name__ == "__main__":
    bench.distributed.group.GRACE = timedelta(seconds=1)
    if os.environ["RANK"] == RANK:
        trouble = globals()[KIND]
        during_sid(trouble) if trouble in (out_of_memory, killed) else trouble()
    sys.exit(ranks.main(sys.argv[1:]))
