"""``bench submit CELL``: pack a finished student with its weights, for others to verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def submit(
    folder: Annotated[
        Path, typer.Argument(metavar="CELL", help="folder of a finished cell, in a folder of runs")
    ],
    out: Annotated[Path, typer.Option(help="folder for the submission")] = Path("submissions"),
) -> None:
    """Pack record, weights and digests of samples into one zip, which 'bench verify' takes."""
    from bench.verify.capsule import pack

    path = pack(folder, out)
    typer.echo(path)
    typer.echo(f"next: bench verify {path} --level re-scored")
