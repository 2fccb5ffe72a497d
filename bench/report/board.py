"""The committed board of a suite: README.md, table.csv and pictures, made from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.atomic import write_atomic
from bench.errors import BenchError, UsageError
from bench.record import Record
from bench.report.csv_ import csv_
from bench.report.fit import fit_lines
from bench.report.markdown import escape, markdown
from bench.report.pareto import KINDS
from bench.report.table import over_network, tables
from bench.suite import Suite
from bench.suite_protocol import SMOKE

FITTED = (
    "How the excess falls with training work: a line in log-log, from the first snapshot after the\n"
    "untrained one to the first within 1.5 times the final excess."
)


def board_texts(records: Sequence[Record], suite: Suite, folder: Path) -> dict[str, str]:
    """README.md and table.csv of a board; the same records give the same text, and a grid is shown."""
    made = tables(records, suite)
    picture = ""
    if any(record.curve for record in records):
        picture = f"![{suite.primary} against training work](curve.png)\n\n"
    if _timed(records, suite):
        picture += "![quality against latency](pareto.png)\n\n"
    grid = "![samples](grid.png)\n\n" if (folder / "grid.png").is_file() else ""
    intro = (
        f"# {escape(suite.title)}\n\n{escape(suite.about)}\n\n{picture}{grid}"
        f"Made by `bench leaderboard {suite.name} --write` from `../records/{suite.name}/`; "
        "the numbers in full are in [table.csv](table.csv)."
        f"{columns_link(suite, folder)}\n\n"
    )
    fits = fit_lines(records, suite)
    if fits:
        intro += FITTED + "\n\n" + "".join(f"- {escape(fit)}\n" for fit in fits) + "\n"
    return {"README.md": intro + markdown(made), "table.csv": csv_(made)}


def columns_link(suite: Suite, folder: Path) -> str:
    """Where columns are explained; empty where the documents do not lie beside the boards."""
    docs = folder.parent.parent / "docs"
    if not ((docs / "leaderboards.md").is_file() and (docs / "suites" / f"{suite.name}.md").is_file()):
        return ""
    page, reading = f"../../docs/suites/{suite.name}.md", "../../docs/leaderboards.md"
    return f" Columns are explained by [the suite]({page}) and by [how to read a board]({reading})."


def write_board(records: Sequence[Record], suite: Suite, folder: Path) -> list[Path]:
    """Write the board; returns what was written (``curve.png`` only if a record has a curve).

    Raises:
        BenchError: no records.
        UsageError: a record of a smoke run.
    """
    if not records:
        raise BenchError(f"{folder}: no records to make a board of")
    for record in records:
        if record.protocol.endswith(SMOKE):
            raise UsageError(
                f"{folder}: {record.label}, seed {record.seed} is of a smoke run, which is no result"
            )
    written: list[Path] = []
    if (folder / "samples").is_dir():
        from bench.report.samples import grid_png

        written += filter(None, [grid_png(records, suite, folder)])
    for name, text in board_texts(records, suite, folder).items():
        write_atomic(folder / name, text)
        written.append(folder / name)
    if any(record.curve for record in records):
        from bench.report.pictures import curve_png

        written.append(curve_png(records, suite, folder / "curve.png"))
    if _timed(records, suite):
        from bench.report.pareto_picture import pareto_png

        written.append(pareto_png(records, suite, folder / "pareto.png"))
    return written


def _timed(records: Sequence[Record], suite: Suite) -> bool:
    """Whether a row of the suite's own version and protocol has a latency."""
    return any(
        over_network(record, row) and suite.primary in row.metrics
        for record in records
        if (record.suite_version, record.protocol, record.status) == (suite.version, suite.protocol.id, "ok")
        for row in record.rows
        if record.kind in KINDS
    )
