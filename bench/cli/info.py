"""``bench info NAME``: what a suite, method, metric, protocol, asset, record or run is."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from bench.assets.registry import assets
from bench.assets.store import AssetStore
from bench.catalog import METHODS, aliases, canonical_name
from bench.errors import UsageError, unknown
from bench.report.assets import asset_text
from bench.report.describe import metric_text, record_text, suite_text
from bench.report.method import method_text
from bench.report.plot import Style
from bench.report.protocols import find_protocol, is_protocol_file, protocol_text
from bench.report.runs import cell_text, is_cell, runs_text
from bench.suite import load_suite, suite_names
from metrics.protocols.registry import shipped_protocols

PLUGINS = "distillbench.methods"  # entry points of installed methods


def info(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="suite, method, metric, protocol, asset, or a path")
    ],
    report: Annotated[
        bool, typer.Option("--report", help="of a finished cell: copying, coverage, interval of its distance")
    ] = False,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FOLDER", help="of a run: also draw curves and samples")
    ] = None,
) -> None:
    """Explain a suite, method, metric, protocol or asset by name; a record, suite or run by path."""
    path = Path(name)
    if report:
        from bench.diagnosis import diagnosis_text

        return typer.echo(diagnosis_text(path))
    if png is not None:
        from bench.report.run_pictures import run_pictures

        for written in run_pictures(path, png):
            typer.echo(f"wrote {written}", err=True)
    if name in assets():
        return typer.echo(asset_text(assets()[name], AssetStore.default()))
    typer.echo(path_text(path, style()) if path.exists() or "/" in name else name_text(name))


def style() -> Style:
    """How plots are drawn on this output: colours on a terminal that wants them, marks that it can show."""
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return Style(colour=not plain, unicode=encoding.startswith("utf"))


def path_text(path: Path, drawn: Style) -> str:
    """What lies at a path.

    Raises:
        UsageError: nothing, or nothing that the bench writes.
    """
    if is_cell(path):
        return cell_text(path, drawn)
    if (path / "record.json").is_file():
        return record_text(path / "record.json")
    if path.is_dir():
        return runs_text(path, drawn)
    if path.suffix == ".json" and path.is_file():
        return record_text(path)
    if path.suffix == ".toml" and path.is_file():
        if is_protocol_file(path):
            return protocol_text(find_protocol(str(path)))
        return suite_text(load_suite(str(path)))
    found = "not a record or a suite file" if path.exists() else "no such file or folder"
    raise UsageError(f"{path}: {found}")


def name_text(name: str) -> str:
    """What a name stands for; raises UsageError with the nearest name."""
    suites = [load_suite(each) for each in suite_names()]
    methods = {*METHODS, *(point.name for point in entry_points(group=PLUGINS))}
    by_metric = {column.key for suite in suites for column in suite.metrics}
    protocols = shipped_protocols()
    if name in suite_names():
        return suite_text(load_suite(name))
    if canonical_name(name) in methods:
        from bench.anatomy import anatomies
        from bench.methods import MethodRegistry

        cls = MethodRegistry().find(name).cls
        return method_text(cls, suites, anatomies(cls.name) if cls.name in METHODS else ())
    if name in by_metric:
        return metric_text(name, suites)
    if name in protocols:
        return protocol_text(protocols[name], suites)
    raise unknown("name", name, [*suite_names(), *methods, *aliases(), *by_metric, *protocols])
