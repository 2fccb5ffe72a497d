"""``bench leaderboard``: records to tables."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.atomic import write_atomic
from bench.errors import UsageError, unknown
from bench.report.collect import RECORDS, collect, record_files
from bench.report.csv_ import csv_
from bench.report.filters import choose, choose_seeds, parse_filter, sort
from bench.report.json_ import json_
from bench.report.markdown import markdown
from bench.report.table import Table, tables
from bench.suite import Suite, load_suite, suite_names

SUFFIXES = {".md": "md", ".csv": "csv", ".json": "json"}


def leaderboard(
    suite: Annotated[
        str | None,
        typer.Argument(metavar="SUITE", help="suite name or file [default: all with records]"),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="terminal, md, csv or json [default: by the name of --out]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="file to write instead of printing")] = None,
    sort_: Annotated[
        str | None,
        typer.Option("--sort", metavar="KEY", help="order lines by a metric, nfe, work, ..."),
    ] = None,
    filter_: Annotated[
        list[str] | None, typer.Option("--filter", help="show lines like 'nfe<=4'; may be repeated")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="show this budget only")] = None,
    records: Annotated[Path, typer.Option(help="folder of records, or of runs")] = RECORDS,
    write: Annotated[
        bool, typer.Option("--write", help="remake README.md, table.csv and curve.png beside the records")
    ] = False,
) -> None:
    """Make tables from records. Filters choose lines and move no rank; seed= chooses what is averaged."""
    asked = format_ or SUFFIXES.get(out.suffix if out else "", "terminal")
    if asked not in ("terminal", *RENDERERS):
        raise unknown("format", asked, ["terminal", *RENDERERS], "--format")
    if write:
        given = {"--format": format_, "--out": out, "--sort": sort_, "--filter": filter_, "--budget": budget}
        return write_boards(suite, records, [option for option, value in given.items() if value])
    made = filtered(suite, records, filter_ or [], budget)
    if sort_ is not None:
        made = sort(made, sort_)
    if not made:
        typer.echo("no line passes the filters", err=True)
    text = show(made, to_file=out is not None) if asked == "terminal" else RENDERERS[asked](made)
    if out is not None:
        write_atomic(out, text)
    else:
        typer.echo(text, nl=False)


def filtered(suite: str | None, records: Path, texts: list[str], budget: str | None) -> list[Table]:
    """Tables of the records that pass the filters, of one budget if one is named."""
    made: list[Table] = []
    for chosen, files in selected(suite, records):
        filters = [parse_filter(text, [column.key for column in chosen.metrics]) for text in texts]
        made += choose(tables(choose_seeds(collect(files, chosen), filters), chosen), filters)
    if budget is None:
        return made
    if budget not in {table.budget for table in made}:
        raise unknown("budget", budget, {table.budget for table in made}, "--budget")
    return [table for table in made if table.budget == budget]


RENDERERS: dict[str, Callable[[Sequence[Table]], str]] = {"md": markdown, "csv": csv_, "json": json_}


def selected(name: str | None, root: Path) -> list[tuple[Suite, list[Path]]]:
    """The suites to show with their record files.

    Raises:
        UsageError: an unknown suite, or one without records; BenchError: no records at all.
    """
    if name is not None and not name.endswith(".toml") and name not in suite_names():
        raise unknown("suite", name, suite_names())
    files = record_files(root)
    if name is None:
        return [(load_suite(each), found) for each, found in files.items()]
    suite = load_suite(name)
    if suite.name not in files:
        raise UsageError(f"{root}: no records of suite {suite.name!r}, only of {', '.join(files)}")
    return [(suite, files[suite.name])]


def show(made: list[Table], *, to_file: bool) -> str:
    """Tables for the terminal as it is: its width and colours, or neither where the output goes elsewhere."""
    from bench.report.terminal import terminal

    if to_file or not sys.stdout.isatty():
        return terminal(made)
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return terminal(made, shutil.get_terminal_size().columns, colour=not plain)


def write_boards(name: str | None, root: Path, given: list[str]) -> None:
    """Remake the committed boards; the view options do not go with it."""
    from bench.report.board import write_board

    if given:
        raise UsageError(f"--write makes the whole board, so it does not go with {given[0]}")
    for suite, files in selected(name, root):
        for path in write_board(collect(files, suite), suite, root.parent / suite.name):
            typer.echo(f"wrote {path}")
