"""``bench run``: distil, sample, measure and record the cells of a suite."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def run(
    suite: Annotated[str, typer.Option(help="suite by name, or a suite file (*.toml)")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="name or name[option=value,...]; repeat for several [default: all]"),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="budget named in the suite: quick, standard, full")
    ] = "standard",
    nfe: Annotated[str | None, typer.Option(help="step counts, such as 1,2,4 [default: the suite's]")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="training seeds [default: the suite's]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    out: Annotated[
        Path, typer.Option(help="folder of runs; a second run goes on where the first stopped")
    ] = Path("runs"),
    plugin: Annotated[list[Path] | None, typer.Option(help="Python file that defines methods")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (part of the device class)")] = None,
    references: Annotated[bool, typer.Option(help="also measure teacher, plain solvers and anchors")] = True,
    smoke: Annotated[
        bool, typer.Option(help="tiny budget and samples: checks the path, is not a result")
    ] = False,
    fail_fast: Annotated[bool, typer.Option(help="stop at the first failed cell")] = False,
) -> None:
    """Run cells and print their leaderboard. Exit status 1 if a cell failed (the others ran)."""
    from bench.launch import Request, execute

    request = Request(
        suite=suite,
        methods=tuple(method or ()),
        budget=budget,
        nfe=parse_steps(nfe),
        seeds=seeds,
        device=device,
        out=out,
        plugins=tuple(plugin or ()),
        threads=threads,
        references=references,
        smoke=smoke,
        fail_fast=fail_fast,
        command="bench " + shlex.join(sys.argv[1:])
        if sys.argv[1:2] == ["run"]
        else f"bench run --suite {suite}",
    )
    raise typer.Exit(execute(request))


def parse_steps(text: str | None) -> tuple[int, ...] | None:
    """Step counts from ``1,2,4``; raises UsageError for anything else."""
    from bench.errors import UsageError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(
            f"--nfe: found {text!r}, expected positive integers separated by commas, such as 1,2,4"
        )
    return tuple(sorted({int(part) for part in parts}))
