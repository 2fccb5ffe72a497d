"""``bench merge RUNS ...``: bring records made on several machines into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS ...", help="folders of runs or of records, record files")
    ],
    out: Annotated[Path, typer.Option(help="folder of records to write: new or empty")],
) -> None:
    """Merge records; order does not matter. Exit status 1 if two results of one training differ."""
    from bench.merging import merge_records

    written = merge_records(runs, out)
    typer.echo(f"wrote {len(written)} records to {out}; see them with 'bench leaderboard --records {out}'")
