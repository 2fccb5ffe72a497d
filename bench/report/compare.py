"""Two protocols or two records side by side: what differs, and where nothing does, the paired difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, variance
from typing import Any

from bench.errors import BenchError, UsageError
from bench.record import MetricValue, Record, Row
from bench.report.describe import block
from bench.report.protocols import value_text
from bench.report.statistics import detectable975, student_t975
from bench.report.text import printable
from bench.suite import load_suite, suite_names
from metrics.protocols.record import Protocol, differences
from metrics.protocols.registry import shipped_protocols


class NotComparable(BenchError):
    """Two rows that must not be ranked together; status 1."""


@dataclass(frozen=True)
class Chosen:
    """A record, and the step count of the row that was asked for; None for all of its rows."""

    record: Record
    steps: int | None = None

    @property
    def rows(self) -> list[Row]:
        """The rows asked for.

        Raises:
            UsageError: no such row; BenchError: the record has no result.
        """
        record = self.record
        if not record.rows:
            raise BenchError(f"{record.label}, seed {record.seed}: status {record.status}, no row to compare")
        found = [row for row in record.rows if self.steps in (None, row.steps)]
        if not found:
            have = ", ".join(str(row.steps) for row in record.rows)
            raise UsageError(f"{record.label}: no row of {self.steps} steps; its rows have {have}")
        return found


@dataclass(frozen=True)
class Difference:
    """``a - b`` of one metric.

    Attributes:
        interval: 95 %, None where a row was measured once.
        paired: whether repeat i of both had the same noise.
        detectable: smallest true difference that such an interval excludes 0 for with power 0.80.
    """

    mean: float
    interval: tuple[float, float] | None
    paired: bool
    detectable: float | None = None


def protocols_text(a: Protocol, b: Protocol) -> str:
    """Fields in which two protocols differ."""
    found = differences(a, b)
    if not found:
        return f"{a.id} and {b.id} agree in every field"
    lines = [f"{a.id} and {b.id} differ in {len(found)} field{'s' if len(found) > 1 else ''}"]
    width = max(len(name) for name, _, _ in found)
    for name, x, y in found:
        lines += [
            f"  {name.ljust(width)}  {printable(value_text(x))}",
            f"  {' ' * width}  {printable(value_text(y))}",
        ]
    return "\n".join([*lines, "Rows of the two are never ranked together."])


def records_text(a: Chosen, b: Chosen) -> str:
    """Two records: their paired differences at equal step counts.

    Raises:
        NotComparable: another suite, version, protocol, reference or extractor, which is named.
        BenchError, UsageError: no rows, or none of equal evaluations (ask for one row of each).
    """
    pairs = matched(a, b)
    refuse(a.record, b.record)
    lines = [f"A  {name_text(a.record)}", f"B  {name_text(b.record)}", *caveats(a.record, b.record)]
    ranked = not caveats(a.record, b.record)
    for first, second in pairs:
        lines += ["", heading(first, second), block(rows_lines(a.record, b.record, first, second, ranked))]
    if "student" in (a.record.kind, b.record.kind):
        lines += [
            "",
            "Intervals are over sampling repeats: how much another training would differ is not known.",
            "detectable: the smallest true difference that such an interval shows with power 80 %.",
        ]
    return "\n".join(lines)


def other_protocol(a: Record, b: Record) -> tuple[Protocol, Protocol] | None:
    """The protocols of records measured under different ones; None if under one, or unknown here."""
    known = shipped_protocols()
    differ = a.protocol != b.protocol and {a.protocol, b.protocol} <= set(known)
    return (known[a.protocol], known[b.protocol]) if differ else None


def refuse(a: Record, b: Record) -> None:
    """Raise NotComparable if numbers of the two do not mean the same, naming what differs."""
    if a.protocol != b.protocol:
        known = other_protocol(a, b)
        fields = ", ".join(name for name, _, _ in differences(*known)) if known else "fields not known here"
        raise NotComparable(
            f"not compared: protocol {a.protocol} and {b.protocol} differ in {fields or 'their ids alone'}"
        )
    held: list[tuple[str, Any, Any]] = [
        ("suite", a.suite, b.suite),
        ("suite_version", major_minor(a), major_minor(b)),
        ("provenance.reference_sha256", a.provenance.reference_sha256, b.provenance.reference_sha256),
        ("provenance.extractor_sha256", a.provenance.extractor_sha256, b.provenance.extractor_sha256),
    ]
    for key, x, y in held:
        if x != y:
            raise NotComparable(f"not compared: the records differ in {key}: {x} and {y}")


def major_minor(record: Record) -> str:
    """The part of a suite's version inside which rows compare."""
    return ".".join(record.suite_version.split(".")[:2])


def caveats(a: Record, b: Record) -> list[str]:
    """Why the two would not be ranked together although their numbers mean the same."""
    found = []
    if a.kind == b.kind == "student" and a.budget != b.budget:
        found.append(f"Not ranked together: budgets {a.budget} and {b.budget}.")
    for record in (a, b):
        if record.status != "ok":
            found.append(f"Not ranked: {record.label} is {record.status}.")
        if record.kind == "external":
            found.append(f"Not ranked: {record.label} is external; seeds and training are not known.")
    return found


def matched(a: Chosen, b: Chosen) -> list[tuple[Row, Row]]:
    """Rows of equal evaluations; where one row of each was asked for (or is there), those two."""
    if len(a.rows) == len(b.rows) == 1:
        return [(a.rows[0], b.rows[0])]
    pairs = [(x, y) for x in a.rows for y in b.rows if x.nfe == y.nfe]
    if not pairs:
        counts = [", ".join(str(row.nfe) for row in chosen.rows) for chosen in (a, b)]
        raise UsageError(
            f"no rows of equal evaluations: {counts[0]} and {counts[1]}; name one row of each as PATH@STEPS"
        )
    return pairs


def difference(a: MetricValue, b: MetricValue, *, paired: bool) -> Difference:
    """``a - b`` with its 95 % interval: Student t on pairs, else Welch's with the degrees rounded down."""
    gap = a.mean - b.mean
    if paired and len(a.values) == len(b.values) > 1:
        gaps = [x - y for x, y in zip(a.values, b.values, strict=True)]
        return spanned(mean(gaps), math.sqrt(variance(gaps) / len(gaps)), len(gaps) - 1, paired=True)
    if min(len(a.values), len(b.values)) < 2:
        return Difference(gap, None, False)
    first, second = (variance(v.values) / len(v.values) for v in (a, b))
    total = first + second
    spread = first**2 / (len(a.values) - 1) + second**2 / (len(b.values) - 1)
    freedom = max(1, int(total**2 / spread)) if spread else len(a.values) + len(b.values) - 2
    return spanned(gap, math.sqrt(total), freedom, paired=False)


def spanned(gap: float, error: float, freedom: int, *, paired: bool) -> Difference:
    """A difference with its standard error, as an interval and as what it could have shown."""
    half = student_t975(freedom) * error
    return Difference(gap, (gap - half, gap + half), paired, detectable975(freedom) * error)


def same_noise(a: Record, b: Record) -> bool:
    """Whether repeat i of both was drawn from the same seed."""
    seeds = a.provenance.seeds.get("sample"), b.provenance.seeds.get("sample")
    return seeds[0] is not None and seeds[0] == seeds[1]


def rows_lines(a: Record, b: Record, first: Row, second: Row, ranked: bool) -> list[tuple[str, str]]:
    """A line for each metric that both rows have."""
    directions = directions_of(a.suite)
    lines = []
    for key in (key for key in first.metrics if key in second.metrics):
        x, y = first.metrics[key], second.metrics[key]
        found = difference(x, y, paired=same_noise(a, b))
        text = f"A {x.mean:.4g}, B {y.mean:.4g}, A - B {found.mean:+.4g} {interval_text(found)}"
        if ranked and first.nfe == second.nfe and directions.get(key, "none") != "none":
            text += f": {verdict(found, directions[key])}"
        if found.detectable is not None:
            text += f"; detectable {found.detectable:.2g}"
        lines.append((key, text))
    if not lines:
        raise UsageError(f"{a.label} and {b.label} have no metric in common")
    return lines


def verdict(found: Difference, better: str) -> str:
    """What an interval of ``a - b`` says; nothing without one."""
    if found.interval is None:
        return "one repeat says nothing of the error"
    low, high = found.interval
    if low <= 0 <= high:
        return "not separable"
    return "A is better" if (high < 0) == (better == "lower") else "B is better"


def interval_text(found: Difference) -> str:
    """The interval and how it was made."""
    if found.interval is None:
        return "(no interval)"
    law = "paired" if found.paired else "not paired"
    return f"[{found.interval[0]:+.4g}, {found.interval[1]:+.4g}] ({law})"


def directions_of(suite: str) -> dict[str, str]:
    """Which direction of a metric is better, for suites that ship."""
    columns: Sequence[Any] = load_suite(suite).metrics if suite in suite_names() else ()
    return {column.key: column.better for column in columns}


def name_text(record: Record) -> str:
    """A record in a line."""
    where = f"{record.suite}@{record.suite_version}, protocol {record.protocol}, budget {record.budget}"
    return printable(f"{record.label}, {record.kind}, seed {record.seed}: {where}")


def heading(a: Row, b: Row) -> str:
    """The evaluations of two rows."""
    if a.nfe == b.nfe:
        return f"{a.nfe} evaluation{'s' if a.nfe != 1 else ''}"
    return f"A {a.nfe} evaluations, B {b.nfe}: not ranked together"
