"""One of the processes that ``--launcher torchrun`` starts: ``python -m bench.launchers.ranks REQUEST.json``.

Its exit status is 0 whether the cells are fine or not: another one means that the process was lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.launchers.torchrun import InGroup
from bench.request import Request
from bench.workplace import open_cells


def main(words: list[str]) -> int:
    """Take part in the run."""
    launcher = InGroup(Request.from_json(Path(words[0]).read_text(encoding="utf-8")))
    watchers = launcher.watchers(None, ())
    runner, cells = open_cells(launcher.request, watchers[0])
    launcher.run(runner, cells, watchers)
    for watcher in watchers:
        watcher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
