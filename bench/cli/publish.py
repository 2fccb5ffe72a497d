"""``bench publish``: bring finished records of a runs folder into the committed ones, remake their board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import SuiteName
from bench.report.collect import RECORDS


def publish(
    suite: SuiteName,
    runs: Annotated[Path, typer.Option(help="folder of runs")] = Path("runs"),
    records: Annotated[Path, typer.Option(help="folder of committed records")] = RECORDS,
    budget: Annotated[str | None, typer.Option(help="take this budget only")] = None,
) -> None:
    """Copy finished records, draw the grid of samples, remake tables and curve; reruns replace theirs."""
    from bench.publishing import publish_runs
    from bench.suite import load_suite

    for path in publish_runs(load_suite(suite), runs, records, budget):
        typer.echo(f"wrote {path}")
