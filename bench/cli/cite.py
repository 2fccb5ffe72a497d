"""``bench cite``: BibTeX of what a suite, a method, a row or a record stands on; papers checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench.catalog import METHODS, aliases, canonical_name
from bench.errors import UsageError, unknown
from bench.record import read_record
from bench.references import FRAME, bibliography, entry, keys_of, software
from bench.report.collect import RECORDS
from bench.report.rowid import ROW_ID
from bench.report.text import printable
from bench.suite import load_suite, suite_names


@dataclass(frozen=True)
class Cited:
    """What one argument asks to cite.

    Attributes:
        suites: ``name@version``; rows: ids; papers: BibTeX keys of methods.
        measures: BibTeX keys of data sets and metrics; comments: lines that name the row.
    """

    suites: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


def cite(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ROW",
            help="suite, method, row id, BibTeX key or record file [default: the bench itself]",
        ),
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(help="LaTeX file whose cited numbers are checked; may be repeated"),
    ] = None,
    records: Annotated[Path, typer.Option(help="folder of records, or of runs")] = RECORDS,
) -> int:
    """Print the BibTeX entries to cite for suites, methods, rows and records, each once."""
    if check:
        if rows:
            raise UsageError(f"--check reads rows from the paper, so it does not go with {rows[0]!r}")
        return check_papers(check, records)
    works = [cited(row, records) for row in rows or []]
    suites = tuple(dict.fromkeys(suite for work in works for suite in work.suites))
    frame = (FRAME,) if suites or not works else ()
    papers = [paper for work in works for paper in work.papers]
    measures = [key for work in works for key in work.measures]
    entries = [entry(key) for key in dict.fromkeys([*frame, *papers, *measures])]
    if frame:
        entries.insert(0, software(suites, tuple(dict.fromkeys(row for work in works for row in work.rows))))
    comments = [comment for work in works for comment in work.comments]
    typer.echo("\n".join([*comments, "\n\n".join(entries)]))
    return 0


def cited(row: str, records: Path = RECORDS) -> Cited:
    """Resolve one argument.

    Raises:
        UsageError: no such suite, method, row, key or file (with the nearest name), or a broken record.
    """
    if row.endswith(".json") or Path(row).is_file():
        return cited_record(Path(row))
    if ROW_ID.fullmatch(row):
        return cited_row(row, records)
    if row in suite_names():
        suite = load_suite(row)
        return Cited((suite.id,), measures=keys_of(suite))
    if row in bibliography():
        return Cited(papers=(row,))
    if canonical_name(row) in METHODS:
        return Cited(papers=(METHODS[canonical_name(row)].paper,))
    raise unknown("row", row, [*suite_names(), *METHODS, *aliases(), *bibliography()])


def cited_record(path: Path) -> Cited:
    """What a record stands on."""
    record = read_record(path)
    suite = f"{record.suite}@{record.suite_version}"
    line = f"% {record.label}, seed {record.seed}: cell {record.cell} of {suite}, budget {record.budget}"
    papers = (record.paper,) if record.paper else ()
    measures = keys_of(load_suite(record.suite)) if record.suite in suite_names() else ()
    return Cited((suite,), (), papers, measures, (printable(f"{line}, protocol {record.protocol}"),))


def cited_row(row: str, records: Path) -> Cited:
    """What a row of a board stands on, its numbers in a comment."""
    from bench.report.columns import number
    from bench.report.rows import Rows

    found = Rows.read(records).find(row)
    line, table = found.line, found.table
    values = [
        f"{column.key} {number(line.metrics[column.key], column.digits, mark=line.kind == 'student')}"
        for column in table.columns
        if column.key in line.metrics
    ]
    later = (
        f"% superseded by {line.superseded}: versions of a suite do not compare" if line.superseded else ""
    )
    said = f"% {line.id}: {line.label}, protocol {table.protocol}: {', '.join(values) or line.status}"
    papers = {record.paper or "" for record in found.shown.records_of(line)} & set(bibliography())
    suite, comments = f"{table.suite}@{table.version}", tuple(map(printable, filter(None, (said, later))))
    return Cited((suite,), (line.id,), tuple(sorted(papers)), keys_of(found.shown.suite), comments)


def check_papers(files: list[Path], records: Path) -> int:
    """Print what is wrong with the numbers that papers cite; 1 if anything is.

    Raises:
        UsageError: a file that cannot be read.
    """
    from bench.paper.check import problems
    from bench.report.rows import Rows

    rows, wrong = Rows.read(records), 0
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--check {path}: not readable ({error})") from error
        found, count = problems(text, rows)
        for problem in found:
            typer.echo(printable(f"{path}:{problem.line}: {problem.rule}: {problem.text}"))
        wrong += len(found)
        typer.echo(
            f"{path}: {count} numbers cited by row, {len(found) or 'no'} problem{'s' * (len(found) != 1)}"
        )
    return 1 if wrong else 0
