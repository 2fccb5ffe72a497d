"""Metrics that plugins brought, as columns of a table: shown, sorted and filtered by, never ranked by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.record import MetricValue, PluginMetric, Record, Row
from bench.suite import MetricColumn

SHORT = 12  # hexadecimal digits of a digest
Version = tuple[str, str]  # name and version: values of two versions share no column


@dataclass(frozen=True)
class Brought:
    """A column of a plugin's metric.

    Attributes:
        key: its name; name@version where the records of a suite have several versions.
        sources: digests of the code that gave the values.
        failures: rows without values, and why.
    """

    key: str
    version: str
    title: str
    about: str
    sources: tuple[str, ...]
    failures: tuple[str, ...]


def keys_of(records: Iterable[Record]) -> dict[Version, str]:
    """Keys of the columns of all plugin metrics in the records of a suite."""
    found = sorted({(name, one.version) for r in records for name, one in r.plugin_metrics.items()})
    names = [name for name, _ in found]
    return {(name, v): name if names.count(name) == 1 else f"{name}@{v}" for name, v in found}


def columns_of(records: Sequence[Record], keys: Mapping[Version, str]) -> list[tuple[MetricColumn, Brought]]:
    """The columns that the records of a table fill, or failed to fill, by key; the latest says its title."""
    groups: dict[str, list[tuple[Record, PluginMetric]]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (r.provenance.created, r.cell)):
        for name, one in record.plugin_metrics.items():
            groups[keys[name, one.version]].append((record, one))
    made = []
    for key, members in sorted(groups.items()):
        last = members[-1][1]
        column = MetricColumn(
            key=key, title=last.title, better=last.better, digits=last.digits, about=last.about
        )
        failures = [f"{r.label}: {m.failure.kind}: {m.failure.message}" for r, m in members if m.failure]
        sources = sorted({one.closure_sha256[:SHORT] for _, one in members})
        brought = Brought(key, last.version, last.title, last.about, tuple(sources), tuple(failures))
        made.append((column, brought))
    return made


def values_of(record: Record, row: Row, keys: Mapping[Version, str]) -> dict[str, MetricValue]:
    """What plugins measured of a row, by key of the column."""
    found = {keys[name, one.version]: one.rows.get(row.steps) for name, one in record.plugin_metrics.items()}
    return {key: value for key, value in found.items() if value is not None}


def brought_notes(brought: Iterable[Brought]) -> list[str]:
    """What each column is, whose it is, and where it failed."""
    notes = []
    for one in brought:
        source = f"source{'s' * (len(one.sources) > 1)} {', '.join(one.sources)}"
        about = f"{one.about.rstrip('.')}."
        notes.append(
            f"{one.title}: by a plugin ({one.key}, version {one.version}, {source}), ranks nothing. {about}"
        )
        notes += [f"{one.title} failed on {failure}" for failure in one.failures]
    return notes
