"""Options that several verbs share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError

SuiteName = Annotated[str, typer.Option(help="suite by name, or a suite file (*.toml)")]
Steps = Annotated[str | None, typer.Option("--nfe", help="step counts, such as 1,2,4 [default: the suite's]")]
SeedCount = Annotated[int | None, typer.Option(min=1, help="training seeds [default: the suite's]")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="file that defines methods or metrics, or a package's folder; repeatable"),
]


def parse_steps(text: str | None) -> tuple[int, ...] | None:
    """Step counts from ``1,2,4``; raises UsageError for anything else."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(
            f"--nfe: found {text!r}, expected positive integers separated by commas, such as 1,2,4"
        )
    return tuple(sorted({int(part) for part in parts}))


def portable(words: Sequence[str]) -> str:
    """The command of these words, without where its output goes: what others give to make the same record."""
    kept = list(words)
    if "--out" in kept:
        at = kept.index("--out")
        del kept[at : at + 2]
    return "bench " + shlex.join(word for word in kept if not word.startswith("--out="))
