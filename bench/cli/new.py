"""``bench new``: the package of a method or metric, or the file of a suite, of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError, unknown
from bench.plugins.skeleton import SKELETONS, run_command, write_package

NAME = re.compile(r"^[a-z][a-z0-9-]{0,39}$")
Images = Annotated[Path | None, typer.Option(help="of a suite: folder or zip of images, all of one size")]
Teacher = Annotated[Path | None, typer.Option(help="of a suite: weight file of a diffusion model of them")]


def new(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="method, metric or suite")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="of it, such as my_method")],
    out: Annotated[Path, typer.Option(help="folder to write into")] = Path(),
    images: Images = None,
    teacher: Teacher = None,
) -> None:
    """Write the package of a method or metric, which passes 'bench check', or a suite file for own images."""
    if what not in (*SKELETONS, "suite"):
        raise unknown("kind of package", what, [*SKELETONS, "suite"])
    if what == "suite":
        return suite(name, out, images, teacher)
    if images or teacher:
        raise UsageError("--images and --teacher make a suite; expected 'bench new suite NAME'")
    for path in write_package(what, name, out):
        typer.echo(path)
    folder = out / name
    typer.echo(f"next: bench check {folder}")
    typer.echo(f"then: {run_command(what, name, str(folder))}")


def suite(name: str, out: Path, images: Path | None, teacher: Path | None) -> None:
    """Write a suite file; raises UsageError without images or teacher, or for a name that is no file's."""
    if images is None or teacher is None:
        raise UsageError("bench new suite: expected --images DIR and --teacher FILE")
    if not NAME.match(name):
        raise UsageError(f"suite {name!r}: expected small letters, digits and dashes, a letter first")
    from bench.own_suite import write_suite

    path = write_suite(name, images, teacher, out)
    typer.echo(path)
    typer.echo(f"next: bench plan --suite {path}")
