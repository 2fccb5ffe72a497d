"""The command that runs a module of this package in a fresh interpreter, with the imports of this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python(module: str, *given: str) -> list[str]:
    """``python -m MODULE GIVEN...`` that finds the code which this process finds."""
    path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    return ["env", f"PYTHONPATH={path}", sys.executable, "-P", "-m", module, *given]
