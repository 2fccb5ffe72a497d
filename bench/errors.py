"""Errors that a user can act on: one clear sentence and an exit status. Everything else is a bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class BenchError(Exception):
    """Base of errors shown without a traceback; ``status`` is the process exit status."""

    status = 1


class UsageError(BenchError):
    """Wrong command line, suite file, plugin or option."""

    status = 2


class AssetError(BenchError):
    """A file that a suite needs is missing or damaged."""

    status = 3


FEW = 20  # known names listed in a message
PREFIXES = ("Input should be ", "Value error, ")  # pydantic's own


def asked(problem: Mapping[str, Any]) -> str:
    """What is wanted in place of a broken value, from one of pydantic's ``errors()``."""
    wanted = "a value" if problem["type"] == "missing" else str(problem["msg"])
    for prefix in PREFIXES:
        wanted = wanted.removeprefix(prefix)
    return wanted


def mismatch(problem: Mapping[str, Any], width: int | None = None) -> str:
    """What was found and what is wanted, from one of pydantic's ``errors()``; the former cut to a width.

    What our own checks of a whole table say names the values that do not go together: the table stays away.
    """
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        return asked(problem)
    found = "nothing" if problem["type"] == "missing" else repr(problem["input"])[:width]
    return f"found {found}, expected {asked(problem)}"


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """Error for an unknown name, with the nearest match.

    Args:
        kind: what the name is ("suite", "method", "option of sid", ...).
        where: file or option that holds the name, if any.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    few = names if len(names) <= FEW else [*names[:FEW], f"and {len(names) - FEW} more"]
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(few)}"
    prefix = f"{where}: " if where else ""
    return UsageError(f"{prefix}unknown {kind} {name!r}; {hint}")
