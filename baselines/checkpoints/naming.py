"""Puts the file in front of what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baselines.checkpoints.errors import CheckpointError


@contextmanager
def naming(path: Path, end: str = "") -> Iterator[None]:
    """Errors of the body begin with the file's path and finish with ``end``."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: the file {error}{end}") from None
