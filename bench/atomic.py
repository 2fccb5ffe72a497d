"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from threading import get_ident


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes beside the target, then move it into place; missing folders are made.

    Several processes and threads may write one target: each has its own part, and the last one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
