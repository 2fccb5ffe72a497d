"""The check of a plugin in a process of its own: ``python -m bench.check.child TARGET PIPE``.

It reports one line for each method or metric: ``{"name": name, "verdicts": [[id, title, state, note], ...]}``
"""

from __future__ import annotations

import json
import os
import sys

from bench.check.run import check_piece, pieces_of
from bench.errors import BenchError


def main(words: list[str]) -> int:
    """Check all that the target brings; an error of usage is reported and gives its exit status."""
    pipe = int(words[1])
    try:
        for name, cls in pieces_of(words[0]).items():
            verdicts = [[v.rule.id, v.rule.title, v.state, v.note] for v in check_piece(cls)]
            os.write(pipe, json.dumps({"name": name, "verdicts": verdicts}).encode() + b"\n")
    except BenchError as error:
        os.write(pipe, json.dumps({"error": str(error)}).encode() + b"\n")
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
