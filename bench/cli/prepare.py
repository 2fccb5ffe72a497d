"""``bench prepare``: have the files of a suite here, verified, before anything runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.errors import UsageError

SuiteName = Annotated[str | None, typer.Option(help="suite by name, or a suite file (*.toml)")]
Names = Annotated[list[str] | None, typer.Option("--asset", help="asset by id; repeatable")]
MirrorPlace = Annotated[
    str | None,
    typer.Option(envvar="BENCH_MIRROR", help="address or folder that has every file at ID/NAME"),
]
Offline = Annotated[bool, typer.Option("--offline", help="open no socket: verify, name what is missing")]
Yes = Annotated[bool, typer.Option("--yes", help="agree to licences that forbid commercial use")]


def prepare(
    suite: SuiteName = None,
    asset: Names = None,
    mirror: MirrorPlace = None,
    offline: Offline = False,
    yes: Yes = False,
) -> None:
    """Fetch and verify the files that a suite needs. Exit status 3 if one is missing or damaged."""
    from bench.assets.fetch import Fetcher
    from bench.assets.origins import origin_of
    from bench.assets.places import is_offline
    from bench.assets.prepare import Preparation
    from bench.assets.progress import watcher
    from bench.assets.registry import find_all
    from bench.assets.store import AssetStore

    names, where = wanted(suite, asset or [])
    if not names:
        typer.echo(f"{where} needs no files")
        return
    shown = watcher()
    fetcher = Fetcher(AssetStore.default(), origin_of(mirror), shown)
    try:
        Preparation(fetcher, offline or is_offline(), lambda asked: yes or agree(asked)).run(
            find_all(names, where)
        )
    finally:
        shown.close()


def wanted(suite: str | None, names: list[str]) -> tuple[list[str], str]:
    """Asset ids, and the suite or option that names them; raises UsageError unless something is named."""
    if suite is None and not names:
        raise UsageError("name what to prepare, with --suite S or --asset ID; see 'bench list assets'")
    if suite is None:
        return names, "--asset"
    from bench.suite import load_suite

    loaded = load_suite(suite)
    return [*loaded.all_assets, *names], f"suite {loaded.id}"


def agree(licences: list[str]) -> bool:
    """Ask a person; raises UsageError where there is none to ask."""
    listed = ", ".join(licences)
    if not sys.stdin.isatty():
        raise UsageError(f"licences that forbid commercial use: {listed}; agree with --yes")
    return typer.confirm(f"These licences forbid commercial use: {listed}. Agree, and fetch?")
