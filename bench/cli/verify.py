"""``bench verify [PATH ...]``: whether records hold, at one of three levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Plugins
from bench.errors import BenchError, unknown
from bench.report.collect import RECORDS, record_files
from bench.report.levels import LEVELS
from bench.report.text import printable

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="record, cell's folder, submission, or folder of records"),
]
Level = Annotated[str, typer.Option(help=f"how far: {', '.join(LEVELS)}")]
Write = Annotated[Path | None, typer.Option(help="leaderboards folder whose ledger notes what was reached")]


def verify(
    path: Paths = None,
    level: Level = LEVELS[0],
    plugin: Plugins = None,
    device: Annotated[str, typer.Option(help="where samples are drawn and students trained again")] = "cpu",
    write: Write = None,
) -> None:
    """Verify records; without PATH all committed ones. Exit status 1 if one does not reach the level."""
    from bench.verify.levels import note_level
    from bench.verify.levels import verify as through

    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    failed, asked = 0, statements(path or [RECORDS])
    for one in asked:
        try:
            verdict = through(one, level, tuple(plugin or ()), device)
        except BenchError as error:
            if len(asked) == 1:
                raise
            failed += 1
            typer.echo(f"no  {one}: {printable(str(error))}")
            continue
        failed += verdict.level != level
        reached = verdict.level or "contradicts itself"
        typer.echo(f"{'ok' if verdict.level == level else 'no'}  {reached}  {one}")
        for problem in verdict.problems:
            typer.echo(f"      {printable(problem)}")
        if write is not None and verdict.level not in (None, LEVELS[0]):
            note_level(write, verdict)
    typer.echo(f"{len(asked) - failed} of {len(asked)} reach {level}")
    raise typer.Exit(int(failed > 0))


def statements(paths: list[Path]) -> list[Path]:
    """Every record, cell or submission that the paths name; raises UsageError or BenchError for none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not (path / "record.json").is_file():
            found += [file for files in record_files(path).values() for file in files]
        else:
            found.append(path)
    return found
