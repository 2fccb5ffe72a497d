"""``bench plan``: what a run would do and cost; runs nothing but a few calibration forwards."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from bench.cli.options import Plugins, SeedCount, Steps, SuiteName, parse_steps

Methods = Annotated[list[str] | None, typer.Option("--method", help="as for bench run [default: all]")]


def plan(
    suite: SuiteName,
    method: Methods = None,
    budget: Annotated[str, typer.Option(help="budget named in the suite")] = "standard",
    nfe: Steps = None,
    seeds: SeedCount = None,
    plugin: Plugins = None,
) -> None:
    """Show the cells of a run with their cost: work units, estimated time and memory on this machine."""
    from bench.estimate import estimate
    from bench.launch import Request, resolve
    from bench.report.assets import asset_lines

    request = Request(
        suite=suite,
        methods=tuple(method or ()),
        budget=budget,
        nfe=parse_steps(nfe),
        seeds=seeds,
        plugins=tuple(plugin or ()),
    )
    loaded, cells, notes = resolve(request)
    for asset in asset_lines(loaded.all_assets, f"suite {loaded.id}"):
        typer.echo(asset)
    lines = estimate(loaded, cells)
    typer.echo(f"{loaded.id}: {len(cells)} cells, budget {budget}. {loaded.about}")
    width = min(48, max(len(line.label) for line in lines) + 2, shutil.get_terminal_size().columns // 2)
    typer.echo(f"{'cell':{width}}{'kind':10}{'training':>12}{'sampling':>12}{'time':>10}{'memory':>10}")
    for line in lines:
        typer.echo(
            f"{line.label:{width}}{line.kind:10}{line.train_units:12,.0f}{line.sample_units:12,.0f}"
            f"{clock(line.seconds):>10}{line.megabytes:8.0f} M"
        )
    total = sum(line.seconds for line in lines)
    typer.echo(f"all: about {clock(total)} on this machine; training and sampling are in work units")
    for note in notes:
        typer.echo(f"note: {note}")


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
