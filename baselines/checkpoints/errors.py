"""The error of files that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable


class CheckpointError(ValueError):
    """A weight file is damaged, is not what it is said to be, or asks for something that is not allowed."""


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first few names and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
