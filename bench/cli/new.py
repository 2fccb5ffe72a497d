"""``bench new method NAME``: write the skeleton of a package with a method of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import unknown
from bench.plugins.skeleton import write_method


def new(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="method")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the method, such as my_method")],
    out: Annotated[Path, typer.Option(help="folder to write the package's folder into")] = Path(),
) -> None:
    """Write a package with a method that trains, its entry point and its test; it passes 'bench check'."""
    if what != "method":
        raise unknown("kind of package", what, ["method"])
    for path in write_method(name, out):
        typer.echo(path)
    folder = out / name
    typer.echo(f"next: bench check {folder}")
    typer.echo(f"then: bench run --suite gmm2d --budget quick --plugin {folder} --method {name}")
