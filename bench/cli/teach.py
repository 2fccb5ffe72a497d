"""``bench teach``: train the teacher (or the feature network) that ships with an embedded suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def teach(
    suite: Annotated[str, typer.Option(help="embedded suite whose teacher is trained")],
    part: Annotated[str, typer.Option(help="teacher or features")] = "teacher",
    out: Annotated[
        Path | None, typer.Option(help="folder for the weights [default: where the package reads them]")
    ] = None,
    work: Annotated[
        Path, typer.Option(help="folder for the checkpoint; a killed training resumes from it")
    ] = Path("runs/teach"),
) -> None:
    """Train a shipped network again; a second call resumes."""
    from baselines.teachers.registry import TEACHERS, WEIGHTS
    from bench.errors import UsageError, unknown
    from bench.suite import load_suite
    from bench.teaching import teach as train

    name = load_suite(suite).teacher
    if name not in TEACHERS:
        raise unknown("teacher", name, TEACHERS, f"suite {suite}")
    if part != "teacher":
        raise UsageError(f"--part: found {part!r}, expected 'teacher'")
    path = train(name, work, out or WEIGHTS)
    typer.echo(f"wrote {path}")
