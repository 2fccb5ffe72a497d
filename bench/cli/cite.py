"""``bench cite``: BibTeX of what a suite, a method or a record stands on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench.catalog import METHODS, aliases, canonical_name
from bench.errors import unknown
from bench.record import read_record
from bench.references import bibliography, entry, software
from bench.report.text import printable
from bench.suite import load_suite, suite_names

FRAME = "karras2022edm"  # the denoiser convention, the noise grid and the plain solver of every suite


@dataclass(frozen=True)
class Cited:
    """What one argument asks to cite: suites ``name@version``, BibTeX keys, comment lines naming the row."""

    suites: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


def cite(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ROW", help="suite, method, BibTeX key or record file [default: the bench itself]"
        ),
    ] = None,
) -> None:
    """Print the BibTeX entries to cite for suites, methods and records, each once."""
    works = [cited(row) for row in rows or []]
    suites = tuple(dict.fromkeys(suite for work in works for suite in work.suites))
    frame = (FRAME,) if suites or not works else ()
    papers = dict.fromkeys([*frame, *(paper for work in works for paper in work.papers)])
    entries = [entry(key) for key in papers]
    if frame:
        entries.insert(0, software(suites))
    comments = [comment for work in works for comment in work.comments]
    typer.echo("\n".join([*comments, "\n\n".join(entries)]))


def cited(row: str) -> Cited:
    """Resolve one argument.

    Raises:
        UsageError: no such suite, method, key or file (with the nearest name), or a broken record.
    """
    if row.endswith(".json") or Path(row).is_file():
        record = read_record(Path(row))
        suite = f"{record.suite}@{record.suite_version}"
        line = f"% {record.label}, seed {record.seed}: cell {record.cell} of {suite}, budget {record.budget}"
        papers = (record.paper,) if record.paper else ()
        return Cited((suite,), papers, (printable(f"{line}, protocol {record.protocol}"),))
    if row in suite_names():
        return Cited((load_suite(row).id,))
    if row in bibliography():
        return Cited(papers=(row,))
    if canonical_name(row) in METHODS:
        return Cited(papers=(METHODS[canonical_name(row)].paper,))
    raise unknown("row", row, [*suite_names(), *METHODS, *aliases(), *bibliography()])
