"""``bench plan``: what a run would do and cost; runs nothing but a few calibration forwards."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Plugins, SeedCount, Steps, SuiteName, parse_steps

if TYPE_CHECKING:
    from bench.cost.calibration import Calibration
    from bench.cost.estimate import Estimate
    from bench.cost.reference import Reference
    from bench.suite import Suite

Methods = Annotated[list[str] | None, typer.Option("--method", help="as for bench run [default: all]")]
GpuName = Annotated[
    str | None,
    typer.Option("--gpu", help="show GPU-hours per cell on this GPU: v100, a100, h100, h200, b200"),
]
Runs = Annotated[
    Path | None, typer.Option("--out", help="folder of runs: what finished cells took there, beside the plan")
]
SMALL = 1e9  # FLOPs of a forward below which the peak of a GPU says nothing
MEBI, GIBI = 2**20, 2**30


def plan(
    suite: SuiteName,
    method: Methods = None,
    budget: Annotated[str, typer.Option(help="budget named in the suite")] = "standard",
    nfe: Steps = None,
    seeds: SeedCount = None,
    plugin: Plugins = None,
    device: Annotated[str, typer.Option(help="device to be timed, as for bench run")] = "auto",
    gpu: GpuName = None,
    out: Runs = None,
) -> None:
    """Show the cells of a run with their cost, here and on named GPUs. Needs none of the suite's files."""
    import torch

    from bench.cost.calibration import calibrate, random_network
    from bench.cost.estimate import batch_sizes, estimates
    from bench.cost.gpus import gpu_table
    from bench.cost.reference import reference_of
    from bench.models import teacher_model
    from bench.request import Request, resolve
    from bench.workplace import choose_device

    if gpu:
        gpu_table().find(gpu)
    request = Request(
        suite=suite, methods=tuple(method or ()), budget=budget, nfe=parse_steps(nfe), seeds=seeds,
        plugins=tuple(plugin or ()),
    )  # fmt: skip
    loaded, cells, notes = resolve(request)
    say_assets(loaded, suite)
    lines, reference, place = estimates(cells), reference_of(loaded), torch.device(choose_device(device))
    sizes, space = batch_sizes(lines), teacher_model(loaded).space
    speed = calibrate(lambda: random_network(loaded, place), space, reference.flops, sizes, place)
    say_cells(loaded, budget, lines, reference, speed, gpu)
    if out is not None:
        say_measured(out, lines, speed)
    say_gpus(loaded, lines, reference, gpu)
    for note in notes:
        typer.echo(f"note: {note}")


def say_assets(suite: Suite, named: str) -> None:
    """A line for each file, and what is still to be fetched."""
    from bench.assets.registry import find_all
    from bench.assets.store import AssetStore
    from bench.report.assets import asset_lines
    from bench.report.text import compact

    where = f"suite {suite.id}"
    for line in asset_lines(suite.all_assets, where):
        typer.echo(line)
    store = AssetStore.default()
    missing = [asset for asset in find_all(suite.all_assets, where) if store.locate(asset) is None]
    if missing:
        known = sum(asset.size or 0 for asset in missing)
        size = f", {compact(known)}B where the size is known exactly" if known else ""
        typer.echo(
            f"missing: {len(missing)} of {len(suite.all_assets)} files{size}; 'bench prepare --suite {named}'"
        )


def say_cells(
    suite: Suite,
    budget: str,
    lines: Sequence[Estimate],
    reference: Reference,
    speed: Calibration,
    gpu: str | None,
) -> None:
    """The table of cells, with the time on the device at hand and on a named GPU."""
    from bench.cost.gpus import gpu_table
    from bench.cost.words import clock, hours
    from bench.report.text import compact

    def elsewhere(units: float) -> tuple[str, str]:
        table, name, half = gpu_table(), gpu or "", reference.half
        found = [of(name, units * reference.flops, half=half) for of in (table.hours, table.energy)]
        return hours(found[0]), hours(found[1])

    typer.echo(f"{suite.id}: {len(lines)} cells, budget {budget}. {suite.about}")
    typer.echo(
        f"work unit: one forward of the reference network on one sample, {compact(reference.flops)}FLOP; "
        f"{compact(reference.parameters)} parameters"
    )
    width = min(48, max(len(line.cell.label) for line in lines) + 2, shutil.get_terminal_size().columns // 2)
    head = f"{'cell':{width}}{'kind':10}{'training':>14}{'sampling':>12}{'time':>12}{'memory':>10}"
    typer.echo(head + (f"{f'{gpu}-hours':>12}{'kWh':>9}" if gpu else ""))
    for line in lines:
        typer.echo(
            f"{line.cell.label:{width}}{line.cell.kind:10}{line.train_units:14,.0f}{line.sample_units:12,.0f}"
            f"{clock(line.seconds(speed)):>12}{memory(line.bytes(reference)):>10}"
            + ("{:>12}{:>9}".format(*elsewhere(line.units)) if gpu else "")
        )
    total, units = sum(line.seconds(speed) for line in lines), sum(line.units for line in lines)
    typer.echo(
        f"all: about {clock(total)} on this machine ({speed.device}; {speed.how}), {compact(units)} units"
        + (", {} {gpu}-hours and at most {} kWh".format(*elsewhere(units), gpu=gpu) if gpu else "")
        + "; training and sampling are in work units"
    )


def say_measured(out: Path, lines: Sequence[Estimate], speed: Calibration) -> None:
    """What finished cells took, beside what is predicted now."""
    from bench.cost.measured import prediction_error

    predicted = {line.cell.id: line.seconds(speed) for line in lines}
    said = prediction_error(out, [line.cell for line in lines], predicted)
    typer.echo(f"in {out}: {said}" if said else f"in {out}: none of these cells is finished")


def say_gpus(suite: Suite, lines: Sequence[Estimate], reference: Reference, gpu: str | None) -> None:
    """GPU-hours of the plan and of one training at each budget, on named GPUs; said to be estimates."""
    from bench.cost.gpus import gpu_table
    from bench.cost.words import hours

    if reference.flops < SMALL and gpu is None:
        return typer.echo(
            "named GPUs: not estimated, the reference network is too small to fill one; --gpu NAME does"
        )
    table, half = gpu_table(), reference.half
    share = table.utilisation.share(half)
    units = sum(line.units for line in lines)
    typer.echo(
        f"GPU-hours, an estimate: FLOPs over {share:.0%} of the datasheet's peak "
        f"({'fp16/bf16' if half else 'fp32'}, dense), one GPU; assumed from {table.utilisation.source}; "
        "energy: that of the board at its full power for the plan's hours"
    )
    columns = ["plan", "kWh at most", *(f"1 training, {name}" for name in suite.budgets)]
    typer.echo(f"{'GPU':14}{'peak TFLOP/s':>16}" + "".join(f"{name:>{len(name) + 3}}" for name in columns))
    for name in [gpu.lower()] if gpu else table.gpus:
        one = table.find(name)
        values = [units, *(limits.work for limits in suite.budgets.values())]
        shown = [hours(table.hours(name, value * reference.flops, half=half)) for value in values]
        shown.insert(1, hours(table.energy(name, units * reference.flops, half=half)))
        peak = f"{one.half:,g} {one.half_format}" if half else f"{one.fp32:,g} fp32"
        cells = "".join(f"{v:>{len(c) + 3}}" for v, c in zip(shown, columns, strict=True))
        typer.echo(f"{one.title:14}{peak:>16}{cells}   {one.source}")
    typer.echo("not counted: feature networks, decoding, data loading, optimiser steps")


def memory(size: float) -> str:
    """Bytes as MiB or GiB."""
    return f"{size / GIBI:.3g} GiB" if size >= GIBI else f"{size / MEBI:.0f} MiB"
