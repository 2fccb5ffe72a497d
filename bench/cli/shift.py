"""``bench shift``: how far the states of a student's own sampler lie from noised data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import SuiteName
from bench.report.collect import RECORDS

SHIFT = Path("leaderboards/shift")


def shift(
    suite: SuiteName,
    runs: Annotated[Path, typer.Option(help="folder of runs with the students")],
    budget: Annotated[str, typer.Option(help="budget named in the suite")] = "standard",
    records: Annotated[Path, typer.Option(help="folder of committed records")] = RECORDS,
    out: Annotated[Path, typer.Option(help="folder of reports, one file per suite")] = SHIFT,
) -> None:
    """Measure the covariate shift of published students of two or more steps; a report is continued."""
    from bench.shift_report import write_shift
    from bench.shifting import measure_suite
    from bench.suite import load_suite

    chosen = load_suite(suite)
    chosen.budget(budget)
    path = out / f"{chosen.name}.json"
    report = measure_suite(chosen, runs, records, path, budget, lambda line: typer.echo(f"measured {line}"))
    write_shift(report, path)
    typer.echo(f"wrote {path}")
