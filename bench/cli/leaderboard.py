"""``bench leaderboard``: records to tables."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.atomic import write_atomic
from bench.errors import BenchError, UsageError, unknown
from bench.report.anytime import anytimes
from bench.report.breakeven import break_evens
from bench.report.brought import keys_of
from bench.report.collect import RECORDS, collect, record_files
from bench.report.filters import choose, choose_seeds, parse_filter, sort
from bench.report.formats import FORMATS, SUFFIXES, render_tables, render_views
from bench.report.pareto import paretos
from bench.report.profile import profile_views
from bench.report.table import Table, tables
from bench.report.views import Shown, View, lines_of
from bench.suite import Suite, load_suite, suite_names

VIEWS: dict[str, Callable[[Shown], list[View]] | None] = {
    "board": None,
    "anytime": anytimes,
    "break-even": break_evens,
    "pareto": paretos,
    "profile": None,  # over suites, not of one
}


Name = Annotated[
    str | None, typer.Argument(metavar="SUITE", help="suite name or file [default: all with records]")
]
Format = Annotated[
    str | None, typer.Option("--format", help=f"{', '.join(FORMATS)} [default: by the name of --out]")
]
Out = Annotated[Path | None, typer.Option(help="file to write instead of printing")]
Sort = Annotated[
    str | None, typer.Option("--sort", metavar="KEY", help="order lines by a metric, nfe, work, ...")
]
Filters = Annotated[
    list[str] | None, typer.Option("--filter", help="show lines like 'nfe<=4'; may be repeated")
]
Write = Annotated[bool, typer.Option("--write", help="remake README.md, table.csv and the pictures")]


def leaderboard(
    suite: Name = None,
    format_: Format = None,
    out: Out = None,
    view: Annotated[str, typer.Option(help=f"{', '.join(VIEWS)}")] = "board",
    sort_: Sort = None,
    filter_: Filters = None,
    budget: Annotated[str | None, typer.Option(help="show this budget only")] = None,
    records: Annotated[Path, typer.Option(help="folder of records, or of runs")] = RECORDS,
    write: Write = False,
) -> None:
    """Make tables from records. Filters choose lines and move no rank; seed= chooses what is averaged."""
    form = format_ or SUFFIXES.get(out.suffix if out else "", "terminal")
    check_choice(form, FORMATS, "format", "--format")
    check_choice(view, VIEWS, "view", "--view")
    given = {"--sort": sort_, "--filter": filter_, "--budget": budget, "--view": view != "board"}
    asked = [option for option, value in given.items() if value]
    if write:
        return write_boards(suite, records, [*["--format"] * bool(format_), *["--out"] * bool(out), *asked])
    if form == "html":
        return write_page(suite, records, out, asked)
    if form == "parquet" and out is None:
        raise UsageError("--format parquet is binary: name a file with --out")
    pairs = filtered(suite, records, filter_ or [], budget)
    if not any(made for _, made in pairs):
        typer.echo("no line passes the filters", err=True)
    text = rendered(pairs, view, form, sort_, to_file=out is not None)
    if out is not None:
        write_atomic(out, text)
    else:
        typer.echo(text, nl=False)


def rendered(
    pairs: Sequence[tuple[Shown, list[Table]]], view: str, form: str, key: str | None, *, to_file: bool
) -> str | bytes:
    """The board, or a view of it, in a format; raises UsageError for a view that is to be sorted."""
    if view != "board":
        if key is not None:
            raise UsageError(f"--view {view} has an order of its own, so it does not go with --sort")
        return show_view(view, [shown for shown, _ in pairs], form, to_file=to_file)
    made = [table for _, kept in pairs for table in kept]
    made = made if key is None else sort(made, key)
    return show(made, to_file=to_file) if form == "terminal" else render_tables(form, made)


def check_choice(found: str, known: Collection[str], kind: str, where: str) -> None:
    """Raise UsageError for what is none of the known names."""
    if found not in known:
        raise unknown(kind, found, known, where)


def filtered(
    suite: str | None, records: Path, texts: list[str], budget: str | None
) -> list[tuple[Shown, list[Table]]]:
    """Each suite's records with their tables: lines that pass the filters, of one budget if one is named."""
    pairs: list[tuple[Shown, list[Table]]] = []
    for chosen, files in selected(suite, records):
        found = collect(files, chosen)
        keys = [*(column.key for column in chosen.metrics), *keys_of(found).values()]
        filters = [parse_filter(text, keys) for text in texts]
        used = choose_seeds(found, filters)
        whole = tables(used, chosen)
        kept = choose(whole, filters)
        ids = frozenset(line.id for table in kept for line in lines_of(table)) if texts else None
        pairs.append((Shown(chosen, used, whole, ids), kept))
    if budget is None:
        return pairs
    budgets = {table.budget for _, kept in pairs for table in kept}
    if budget not in budgets:
        raise unknown("budget", budget, budgets, "--budget")
    return [
        (replace(shown, tables=of_budget(shown.tables, budget)), of_budget(kept, budget))
        for shown, kept in pairs
    ]


def of_budget(made: Sequence[Table], budget: str) -> list[Table]:
    """The tables of one budget."""
    return [table for table in made if table.budget == budget]


def show_view(view: str, boards: Sequence[Shown], form: str, *, to_file: bool) -> str | bytes:
    """A view of all suites in a format; raises BenchError where there is nothing that it could show."""
    of_one = VIEWS[view]
    views = [made for shown in boards for made in of_one(shown)] if of_one else profile_views(boards)
    if not views:
        needs = "curves" if view == "anytime" else "two suites" if view == "profile" else "such rows"
        raise BenchError(f"--view {view}: nothing to show: the records have no {needs} at one budget")
    if form != "terminal":
        return render_views(form, views)
    from bench.report.view_text import views_terminal

    plain = to_file or not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    return views_terminal(views, colour=not plain and os.environ.get("TERM") != "dumb")


def write_page(suite: str | None, root: Path, out: Path | None, given: list[str]) -> None:
    """Write the HTML page; it has views and filters of its own."""
    from bench.report.html import page

    if out is None:
        raise UsageError(
            "--format html makes a page: name a file with --out, such as leaderboards/index.html"
        )
    if given:
        raise UsageError(f"--format html shows everything, so it does not go with {given[0]}")
    pairs = filtered(suite, root, [], None)
    write_atomic(out, page([shown for shown, _ in pairs], root.parent))
    typer.echo(f"wrote {out}")


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
