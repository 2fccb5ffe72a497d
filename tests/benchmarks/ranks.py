"""Iterations of a training by this process, or by those that torchrun's variables name.

python ranks.py SUITE METHOD COUNT FOLDER PART

prints the seconds of an iteration, on a PART-th of the suite's batch, by the clock of the wall.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from stepping import on_suite

from bench.distributed.group import Group
from bench.distributed.spread import Spread
from bench.meter import ALONE

WARM = 2


def main(words: list[str]) -> None:
    """Warm up, iterate, and let one of the processes say how long it took."""
    suite, selector, count, folder, part = words
    torch.set_num_threads(1)
    group = Group.join("cpu") if Group.asked_for() else None
    share = ALONE if group is None else Spread(group)
    training = on_suite(suite, selector, Path(folder), share, part=int(part))
    for _ in range(WARM):
        training.iterate()
    started = time.perf_counter()
    for _ in range(int(count)):
        training.iterate()
    if group is None or group.leads:
        print((time.perf_counter() - started) / int(count))
    if group is not None:
        group.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
