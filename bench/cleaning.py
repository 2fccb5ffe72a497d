"""What may be removed of a folder of runs or of the asset cache, by age and size; never what is in use.

A stage is *needed* if a finished record's rows rest on it: the trained weights, and the samples of every
repeat with their scores. Those stay unless all is asked for. What a killed training left is not needed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.assets.registry import assets
from bench.assets.store import AssetStore
from bench.errors import UsageError
from bench.store import Locked, in_use, locked, read_json

FINISHED = ("ok", "truncated")
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SPANS = {"min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
GONE = ".gone-"  # begins the name of what is being removed


@dataclass(frozen=True)
class Entry:
    """Something that can be removed.

    Attributes:
        used: when it was last used, seconds since the epoch; kept: why it stays, empty if it may go.
    """

    path: Path
    name: str
    bytes: int
    used: float
    kept: str = ""


@dataclass(frozen=True)
class Limits:
    """Which entries go: unused for so long, larger than so much, or the longest unused beyond a total."""

    older_than: float | None = None
    larger_than: int | None = None
    keep: int | None = None

    def chosen(self, entries: Sequence[Entry], now: float) -> list[Entry]:
        """Of the entries that may go those that do, longest unused first."""
        free = sorted((one for one in entries if not one.kept), key=lambda one: (one.used, one.name))
        if self.older_than is not None:
            free = [one for one in free if now - one.used >= self.older_than]
        if self.larger_than is not None:
            free = [one for one in free if one.bytes > self.larger_than]
        if self.keep is None:
            return free
        left, taken = sum(one.bytes for one in entries), list[Entry]()
        for one in free:
            if left <= self.keep:
                break
            taken.append(one)
            left -= one.bytes
        return taken


def parse_size(text: str, option: str) -> int:
    """Bytes from ``10GB``, ``500 MB`` or ``0``; raises UsageError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise UsageError(f"{option}: found {text!r}, expected a size such as 10GB or 500MB")
    return round(float(match[1]) * UNITS[match[2]])


def parse_span(text: str, option: str) -> float:
    """Seconds from ``30d``, ``12h``, ``2w`` or ``90min``; raises UsageError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|h|d|w)", text.strip().lower())
    if match is None:
        raise UsageError(f"{option}: found {text!r}, expected a time such as 30d, 2w, 12h or 90min")
    return float(match[1]) * SPANS[match[2]]


# ---------------------------------------------------------------------- folders of runs


def stage_entries(runs: Path, *, everything: bool = False) -> list[Entry]:
    """Every stage of a folder of runs.

    Args:
        everything: stages that finished records rest on may go too; those in use never do.

    Raises:
        UsageError: no folder of runs; BenchError: a file that the bench wrote there is broken.
    """
    if not (runs / "layout.json").is_file():
        raise UsageError(f"--runs {runs}: not a folder of runs (it has no layout.json)")
    needed = set() if everything else needed_stages(runs)
    since = at_work_since(runs)
    found = []
    for folder in sorted((runs / "stages").glob("*/*")):
        if not folder.is_dir():
            continue
        done = folder / "done.json"
        files = [path.stat() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
        used = done.stat().st_mtime if done.is_file() else max((f.st_mtime for f in files), default=0.0)
        kept = "needed by a finished record" if folder.resolve() in needed else ""
        if in_use(folder) or used >= since:
            kept = "in use"
        name = f"{folder.parent.name}/{folder.name}" + ("" if done.is_file() else " (not finished)")
        found.append(Entry(folder, name, sum(f.st_size for f in files), used, kept))
    return found


def at_work_since(runs: Path) -> float:
    """When the first of the cells that are at work now began; what was used since then may be used again."""
    specs = [path for path in runs.glob("*@*/*/spec.json") if in_use(path.parent)]
    return min((path.stat().st_mtime for path in specs), default=float("inf"))


def needed_stages(runs: Path) -> set[Path]:
    """Folders of the stages that the rows of finished records rest on."""
    places: set[Path] = set()
    for path in runs.glob("*@*/*/record.json"):
        stages = path.parent / "stages.json"
        if stages.is_file() and read_json(path).get("status") in FINISHED:
            places |= {(runs / str(place)).resolve() for place in read_json(stages).values()}
    made = {folder: _done(folder) for folder in (runs / "stages").glob("samples/*")}
    rows = {_row(done) for folder, done in made.items() if folder.resolve() in places} - {""}
    samples = {folder for folder, done in made.items() if _row(done) in rows}  # of every repeat
    digests = {made[folder]["files"].get("samples.safetensors") for folder in samples}
    scores = {
        folder
        for folder in (runs / "stages").glob("scores/*")
        if _done(folder).get("inputs", {}).get("samples") in digests
    }
    return places | {folder.resolve() for folder in samples | scores}


def _done(folder: Path) -> dict[str, Any]:
    return read_json(folder / "done.json") if (folder / "done.json").is_file() else {}


def _row(done: dict[str, Any]) -> str:
    """What the blocks of a row share: all inputs but the seed; empty for an unfinished stage."""
    inputs = {key: value for key, value in done.get("inputs", {}).items() if key != "seed"}
    return json.dumps(inputs, sort_keys=True) if inputs else ""


def remove_stage(entry: Entry) -> bool:
    """Remove a stage, unless a process came to use it; returns whether it is gone.

    The folder is renamed first, so that a removal that is killed leaves no half a stage behind.
    """
    if in_use(entry.path):
        return False
    try:
        with locked(entry.path):
            (entry.path / "done.json").unlink(missing_ok=True)  # first: without it a stage is made again
            target = entry.path.with_name(f"{GONE}{entry.path.name}")
            shutil.rmtree(target, ignore_errors=True)
            entry.path.rename(target)
    except Locked:
        return False
    shutil.rmtree(target)
    return True


# ---------------------------------------------------------------------- assets


def asset_entries(store: AssetStore, *, everything: bool = False) -> list[Entry]:
    """Every file and broken-off transfer in the cache, and statistics computed from one's own images.

    Args:
        everything: files that cannot be fetched again by the bench may go too.
    """
    fetched = {one.id for one in assets().values() if one.fetch == "direct"}
    found = []
    for path in _files_below(store.root / "files"):
        id_ = path.parent.relative_to(store.root / "files").as_posix()
        kept = "" if everything or id_ in fetched else "was put there by hand"
        found.append(_file_entry(path, id_, kept or _fetching(store, id_)))
    for path in _files_below(store.root / "partial"):
        id_ = path.name.removesuffix(".part").replace("--", "/")
        found.append(_file_entry(path, f"{id_} (part of a transfer)", _fetching(store, id_)))
    found += [_file_entry(p, f"references/{p.name}", "") for p in _files_below(store.root / "references")]
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _file_entry(path: Path, name: str, kept: str) -> Entry:
    stat = path.stat()
    return Entry(path, name, stat.st_size, max(stat.st_atime, stat.st_mtime), kept)


def _fetching(store: AssetStore, id_: str) -> str:
    lock = store.root / "locks" / f"{id_.replace('/', '--')}.lock"
    return "in use" if lock.is_file() and in_use(lock.parent, lock.name) else ""


def remove_file(entry: Entry) -> bool:
    """Remove a file of the cache; the lock file keeps its digest, so that only the same file comes back."""
    entry.path.unlink(missing_ok=True)
    return True
