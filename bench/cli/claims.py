"""``bench claims``: what the papers claim, checked against the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.atomic import write_atomic
from bench.report.collect import RECORDS


def claims(
    records: Annotated[Path, typer.Option(help="folder of records; shift reports lie beside it")] = RECORDS,
    out: Annotated[Path | None, typer.Option(help="file to write instead of printing")] = None,
    budget: Annotated[str, typer.Option(help="budget of the students")] = "standard",
) -> None:
    """State every claim with numbers and a verdict on each embedded suite. The numbers are of the records."""
    from bench.claims.document import claims_text

    text = claims_text(records, budget)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomic(out, text)
        typer.echo(f"wrote {out}")
