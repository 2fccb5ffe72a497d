"""From a folder to the records in it."""

from __future__ import annotations

import math
import re
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.record import MetricValue, Record, read_record
from bench.suite import Suite

RECORDS = Path("leaderboards/records")


def record_files(root: Path) -> dict[str, list[Path]]:
    """Record files by suite name, of a records folder (``<suite>/*.json``) or of a folder of runs.

    Raises:
        UsageError: no such folder.
        BenchError: nothing there.
    """
    if not root.is_dir():
        if root == RECORDS:
            raise BenchError(f"{root}: no records here; {HOW}")
        raise UsageError(f"--records {root}: no such folder")
    files: dict[str, list[Path]] = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        runs = sorted(folder.glob("*/record.json")) if "@" in folder.name else []
        found = runs or sorted(p for p in folder.rglob("*.json") if "@" not in folder.name)
        if found and folder.name != "stages":
            files.setdefault(folder.name.partition("@")[0], []).extend(found)
    if not files:
        raise BenchError(f"{root}: no records here; {HOW}")
    return files


HOW = "make some with 'bench run --suite gmm2d' and show them with 'bench leaderboard --records runs'"


def collect(files: list[Path], suite: Suite) -> list[Record]:
    """Read and check the records of one suite; order does not depend on that of the files.

    Raises:
        UsageError: a broken record, one of another suite, one without the suite's primary metric, or two of
            one training (naming file and key).
    """
    records: dict[tuple[object, ...], tuple[Record, Path]] = {}
    for path in files:
        record = read_record(path)
        _check(record, path, suite)
        key = (record.suite_version, record.protocol, record.budget, *identity(record), record.seed)
        if key in records:
            first = records[key][1]
            raise UsageError(
                f"{path}: {record.label}, seed {record.seed} is also in {first}; keep one of the two"
            )
        records[key] = record, path
    return [record for _, (record, _) in sorted(records.items(), key=lambda item: repr(item[0]))]


def record_name(record: Record) -> str:
    """Stable stem of a record's file: what was trained, never when."""
    label = re.sub(r"[^A-Za-z0-9.]+", "-", record.label).strip("-")
    return f"{label}.{record.kind}.{record.budget}.seed{record.seed}"


def identity(record: Record) -> tuple[object, ...]:
    """What the seeds of one row share: kind, label, version and options."""
    options = tuple(sorted((key, repr(value)) for key, value in record.config.items()))
    return record.kind, record.label, record.method_version, options


def _check(record: Record, path: Path, suite: Suite) -> None:
    if record.suite != suite.name:
        raise UsageError(
            f"{path}: key 'suite': found {record.suite!r}, expected {suite.name!r}, as its folder says"
        )
    for name, one in record.plugin_metrics.items():
        if any(name == column.key for column in suite.metrics):
            raise UsageError(f"{path}: key 'plugin_metrics.{name}': found the key of a metric of {suite.id}")
        for steps, value in one.rows.items():
            _check_finite(value, f"{path}: key 'plugin_metrics.{name}.rows.{steps}'")
    for i, row in enumerate(record.rows):
        for key, value in row.metrics.items():
            _check_finite(value, f"{path}: key 'rows.{i}.metrics.{key}'")
        of_suite = (record.suite_version, record.protocol) == (suite.version, suite.protocol.id)
        if of_suite and suite.primary not in row.metrics:
            found, wanted = ", ".join(row.metrics) or "none", f"{suite.primary!r}, by which {suite.id} ranks"
            raise UsageError(f"{path}: key 'rows.{i}.metrics': found {found}, expected {wanted}")


def _check_finite(value: MetricValue, where: str) -> None:
    if not all(map(math.isfinite, (value.mean, *(value.ci95 or ()), *value.values))):
        raise UsageError(f"{where}: found a number that is not finite")
