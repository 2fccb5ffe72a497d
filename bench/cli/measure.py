"""``bench measure SAMPLES --protocol P``: score samples that somebody else made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError, unknown

Samples = Annotated[
    list[Path],
    typer.Argument(help="folder or zip of PNG, .npz or .safetensors; one for each repeat"),
]
ProtocolName = Annotated[str, typer.Option(help="protocol by id, or a protocol file (*.toml)")]
ReferenceFile = Annotated[
    Path | None,
    typer.Option(help="statistics (.npz, EDM2's .pkl) or real images, if the protocol needs them"),
]
Weights = Annotated[Path | None, typer.Option(help="weights of the protocol's feature network")]
Captions = Annotated[
    Path | None, typer.Option(help="text file, one caption a line, in the order of the images")
]
Metrics = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="file, or folder, with metrics of others to measure beside; repeatable"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Format = Annotated[str, typer.Option("--format", help="text or json")]
RowName = Annotated[str | None, typer.Option("--row", help="also write an external row under this name")]
Nfe = Annotated[
    int | None, typer.Option(min=1, help="evaluations per sample of the row, as its maker states")
]
RowSuite = Annotated[str | None, typer.Option(help="suite of the row [default: the one of the protocol]")]
Out = Annotated[Path, typer.Option(help="folder of runs for the row")]


def measure(
    samples: Samples,
    protocol: ProtocolName,
    reference: ReferenceFile = None,
    weights: Weights = None,
    captions: Captions = None,
    plugin: Metrics = None,
    device: Device = "auto",
    format_: Format = "text",
    row: RowName = None,
    nfe: Nfe = None,
    suite: RowSuite = None,
    out: Out = Path("runs"),
) -> None:
    """Score samples under a protocol, and say what the numbers rest on.

    Nothing is written but the record of --row, at the end. Such rows are shown in tables and never ranked.
    Exit status 1 if a metric of a plugin failed.
    """
    if format_ not in ("text", "json"):
        raise unknown("format", format_, ["text", "json"], "--format")
    if row is None and (nfe is not None or suite is not None):
        raise UsageError("--nfe and --suite belong to a row; name it with --row")
    from bench.external import check_row, row_suite, write_row
    from bench.measuring import Request, measure_samples
    from bench.report.measured import measured_json, measured_text
    from bench.workplace import choose_device

    stated = check_row(row, nfe) if row is not None else None
    plugins = tuple(plugin or ())
    request = Request(tuple(samples), protocol, reference, weights, captions, choose_device(device), plugins)
    measured = measure_samples(request)
    table = row_suite(measured, suite) if row is not None else None
    typer.echo(measured_json(measured) if format_ == "json" else measured_text(measured))
    if row is not None and stated is not None and table is not None:
        typer.echo(f"wrote {write_row(measured, row, stated, table, out)}", err=True)
    raise typer.Exit(int(any(one.failure for one in measured.plugin_metrics.values())))
