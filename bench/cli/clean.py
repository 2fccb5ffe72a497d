"""``bench clean``: remove stages of runs, or fetched files, by age and size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.cleaning import Entry


def clean(
    runs: Annotated[Path, typer.Option(help="folder of runs whose stages are cleaned")] = Path("runs"),
    assets: Annotated[
        bool, typer.Option("--assets", help="clean the cache of fetched files instead")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(help="what was not used for so long: 30d, 2w, 12h, 90min")
    ] = None,
    larger_than: Annotated[str | None, typer.Option(help="what is larger: 10GB, 500MB")] = None,
    keep: Annotated[
        str | None, typer.Option(help="the longest unused, until no more than this is left")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="also what finished records rest on, or was put there by hand")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="remove it; without, it is only shown")] = False,
) -> None:
    """Show what can be removed, or remove it with --yes. Nothing in use is ever removed."""
    from bench import cleaning
    from bench.assets.store import AssetStore
    from bench.report.runs import span
    from bench.report.text import compact, printable

    if larger_than is not None and keep is not None:
        raise UsageError("--keep: found beside --larger-than; choose one of the two")
    limits = cleaning.Limits(
        None if older_than is None else cleaning.parse_span(older_than, "--older-than"),
        None if larger_than is None else cleaning.parse_size(larger_than, "--larger-than"),
        None if keep is None else cleaning.parse_size(keep, "--keep"),
    )
    store, now, freed, count = AssetStore.default(), time.time(), 0, 0
    remove = cleaning.remove_file if assets else cleaning.remove_stage
    listed = partial(cleaning.asset_entries, store) if assets else partial(cleaning.stage_entries, runs)
    entries = listed(everything=everything)
    for one in limits.chosen(entries, now):
        gone = not yes or remove(one)
        word = ("removed" if gone else "in use, kept") if yes else "would remove"
        typer.echo(f"{word}  {compact(one.bytes)}B  {printable(one.name)}  unused for {span(now - one.used)}")
        freed, count = freed + one.bytes * gone, count + gone
    typer.echo(summary(count, freed, entries, where=store.root if assets else runs, done=yes))


def summary(count: int, freed: int, entries: Sequence[Entry], *, where: Path, done: bool) -> str:
    """What was or would be freed, and what stays for which reason."""
    from bench.report.text import compact

    kept = [
        f"{sum(one.kept == why for one in entries)} {why}"
        for why in sorted({one.kept for one in entries} - {""})
    ]
    said = f"{'removed' if done else 'would remove'} {count} of {len(entries)} in {where}, {compact(freed)}B"
    stays = f"; kept: {', '.join(kept)}" if kept else ""
    return said + stays + ("" if done or not count else "; add --yes to remove them")
