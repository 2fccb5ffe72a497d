"""One of the processes that ``--launcher torchrun`` starts: ``python -m bench.launchers.ranks REQUEST.json``.

Its exit status is 0 whether the cells are fine or not: another one means that the process was lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import TypeAdapter

from bench.launchers.torchrun import InGroup
from bench.request import Request, resolve
from bench.workplace import open_runner


def main(words: list[str]) -> int:
    """Take part in the run."""
    asked = TypeAdapter(Request).validate_json(Path(words[0]).read_text(encoding="utf-8"))
    launcher = InGroup(asked)
    suite, cells, _ = resolve(launcher.request)
    watchers = launcher.watchers(None, cells)
    launcher.run(open_runner(launcher.request, suite, watchers[0]), cells, watchers)
    for watcher in watchers:
        watcher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
