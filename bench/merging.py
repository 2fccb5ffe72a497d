"""Merges the records of several folders into one; the outcome does not depend on the order of the folders."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UsageError
from bench.record import Record, read_record, write_record
from bench.report.collect import identity, record_files, record_name
from bench.store import explain_disk

Key = tuple[object, ...]
FINISHED = ("ok", "truncated")


@dataclass(frozen=True)
class Found:
    """A record and the file it was read from."""

    record: Record
    path: Path

    @property
    def key(self) -> Key:
        """What two records of one training share."""
        r = self.record
        return (r.suite, r.suite_version, r.protocol, r.budget, *identity(r), r.seed)

    @property
    def content(self) -> dict[str, Any]:
        """What must be equal in two records of one training: all but how it was asked for."""
        return self.record.model_dump(mode="json", exclude={"command", "preset", "plugin_metrics"})

    @property
    def rank(self) -> tuple[bool, str, bool, str]:
        """Of two that may stand for each other, the greater is kept: finished, later, saying more."""
        r = self.record
        return r.status in FINISHED, r.provenance.created, r.preset is not None, r.model_dump_json()


def read_all(sources: Sequence[Path]) -> list[Found]:
    """Every record of folders of runs, folders of records, folders of cells, and single files.

    Raises:
        UsageError: a broken record, or no such file; BenchError: a folder without records.
    """
    paths: dict[Path, Path] = {}  # a file named twice is one file
    for source in sources:
        for path in _files(source):
            paths.setdefault(path.resolve(), path)
    return [Found(read_record(path), path) for path in paths.values()]


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    elif (source / "record.json").is_file():
        yield source / "record.json"
    elif not source.is_dir():
        raise UsageError(f"{source}: no such file or folder")
    else:
        for files in record_files(source).values():
            yield from files


def merged(found: Iterable[Found]) -> list[Found]:
    """One record for each training, in an order of their own.

    A record with a result takes the place of one without; of two without the later is kept.

    Raises:
        BenchError: two results of one training differ; all such pairs are named, with where they differ.
    """
    groups: dict[Key, list[Found]] = defaultdict(list)
    for one in found:
        groups[one.key].append(one)
    kept, conflicts = list[Found](), list[str]()
    for group in groups.values():
        best = max(group, key=lambda one: one.rank)
        kept.append(replace(best, record=with_metrics(best, group, conflicts)))
        for other in sorted(group, key=lambda one: str(one.path)):
            if other is not best and other.record.status in FINISHED and other.content != best.content:
                first, second = sorted((best, other), key=lambda one: str(one.path))
                where = difference(first.content, second.content)
                who = f"{best.record.label}, seed {best.record.seed}"
                conflicts.append(f"{first.path} and {second.path}: {who}: differ in {where}")
    if conflicts:
        raise BenchError(f"nothing was written; {'; '.join(sorted(conflicts))}. Keep one of each two")
    return sorted(kept, key=lambda one: repr(one.key))


def with_metrics(best: Found, group: Sequence[Found], conflicts: list[str]) -> Record:
    """The record that is kept with what plugins measured of all records of its training.

    Values take the place of a failure; two that differ are a conflict.
    """
    whole = dict(best.record.plugin_metrics)
    for other in sorted(group, key=lambda one: one.rank, reverse=True):
        if other.content != best.content:
            continue
        for name, found in other.record.plugin_metrics.items():
            known = whole.get(name)
            if known is None or (known.failure and not found.failure):
                whole[name] = found
            elif not known.failure and not found.failure and known != found:
                where = difference(known.model_dump(mode="json"), found.model_dump(mode="json"), name)
                conflicts.append(f"{best.path} and {other.path}: plugin metric {where}")
    return best.record.model_copy(update={"plugin_metrics": dict(sorted(whole.items()))})


def difference(a: Any, b: Any, where: str = "") -> str:
    """The first place where two JSON values differ, with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if a.get(key) != b.get(key):
                return difference(a.get(key), b.get(key), f"{where}.{key}".lstrip("."))
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, pair in enumerate(zip(a, b, strict=True)):
            if pair[0] != pair[1]:
                return difference(*pair, f"{where}.{i}")
    return f"{where} ({json.dumps(a)[:60]} and {json.dumps(b)[:60]})"


def file_names(kept: Sequence[Found]) -> dict[Path, Found]:
    """Where each record goes, below the folder of records; the id tells apart those of equal names."""
    named: dict[Path, list[Found]] = defaultdict(list)
    for one in kept:
        named[Path(one.record.suite) / f"{record_name(one.record)}.json"].append(one)
    return {
        path if len(group) == 1 else path.with_suffix(f".{one.record.cell[:12]}.json"): one
        for path, group in named.items()
        for one in group
    }


def merge_records(sources: Sequence[Path], out: Path) -> list[Path]:
    """Write the records of all sources into ``out/<suite>/``, which must hold none yet.

    Returns:
        The files written.

    Raises:
        UsageError: ``out`` is not empty; and see ``read_all`` and ``merged``.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: found something there, expected a new or empty folder")
    planned = file_names(merged(read_all(sources)))
    for path, one in planned.items():
        if len(path.parts) != 2 or not re.fullmatch(r"[\w-]+", path.parts[0]):
            raise UsageError(f"{one.path}: key 'suite': found {one.record.suite!r}, expected a suite's name")
    partial = out.with_name(f".{out.name}.partial")
    with explain_disk(out):
        if partial.exists():
            raise UsageError(f"{partial}: left by a merge that was killed, or another is at work; remove it")
        for path, one in planned.items():
            write_record(one.record, partial / path)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    return sorted(out / path for path in planned)
