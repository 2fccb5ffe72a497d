"""One of the processes that ``--launcher torchrun`` starts: ``python -m bench.launchers.ranks REQUEST.json``.

Its exit status is 0 whether the cells are fine or not, and also where starting again would not help; another
one means that the process was lost.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.atomic import write_atomic
from bench.errors import BenchError
from bench.launchers.torchrun import REFUSAL, InGroup
from bench.request import Request
from bench.workplace import open_cells


def main(words: list[str]) -> int:
    """Take part in the run; rank 0 leaves word of what keeps all of them from it."""
    job = Path(words[0])
    launcher = InGroup(Request.from_json(job.read_text(encoding="utf-8")))
    try:
        take_part(launcher)
    except BenchError as error:
        if launcher.speaks:
            said = {"message": str(error), "status": error.status}
            write_atomic(job.with_name(REFUSAL), json.dumps(said) + "\n")
    return 0


def take_part(launcher: InGroup) -> None:
    """Work on the cells.

    Raises:
        BenchError: on all ranks, if one of them cannot open the lab or differs; later on rank 0, the others
            are done then.
    """
    watchers = launcher.watchers(None, ())
    runner, cells = launcher.join().all_or_none(lambda: open_cells(launcher.request, watchers[0]))
    launcher.run(runner, cells, watchers)
    for watcher in watchers:
        watcher.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
