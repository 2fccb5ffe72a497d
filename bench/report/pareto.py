"""Quality against latency: which rows no other row beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.columns import scope
from bench.report.table import Line, Table
from bench.report.views import METHOD, NFE, ROW, Head, Shown, View, decimals, lines_of
from bench.suite import MetricColumn

KINDS = ("student", "published", "solver", "teacher")


@dataclass(frozen=True)
class Point:
    """A row as a point: latency over one teacher forward and a metric; ``front`` if undominated."""

    line: Line
    latency: float
    value: float
    front: bool


def points(table: Table, column: MetricColumn) -> list[Point]:
    """Finished rows with a latency and a metric, fastest first.

    A row is on the front if no other row is at least as fast and at least as good, and better in one of the
    two. Means decide; equal rows are both on it.
    """
    sign = 1 if column.better == "lower" else -1
    found = [
        (line.latency, sign * line.metrics[column.key].mean, line)
        for line in lines_of(table)
        if line.kind in KINDS and line.status == "ok" and line.latency is not None
        if column.key in line.metrics
    ]
    found.sort(key=lambda item: (item[0], item[1], item[2].id))
    front = _front([(latency, loss) for latency, loss, _ in found])
    return [
        Point(line, latency, sign * loss, on) for (latency, loss, line), on in zip(found, front, strict=True)
    ]


def _front(pairs: Sequence[tuple[float, float]]) -> list[bool]:
    """Of pairs in rising order, those that nothing before them is as good as."""
    best, last, kept = float("inf"), None, []
    for pair in pairs:
        on = pair[1] < best or pair == last
        if on:
            best, last = pair[1], pair
        kept.append(on)
    return kept


def paretos(shown: Shown) -> list[View]:
    """One view a table: rows by latency, those on the front marked."""
    column = shown.suite.column(shown.suite.primary)
    views = []
    for table in shown.tables:
        rows = [
            (p.line.label, p.line.nfe, p.latency, p.value, "front" if p.front else None, p.line.id)
            for p in points(table, column)
            if shown.shows(p.line)
        ]
        title = f"Quality and latency: {scope(table)}, budget {table.budget}"
        heads = (
            METHOD,
            NFE,
            Head("latency", "latency", lambda value: f"{value:.2f}x"),
            Head(table.primary, column.title, decimals(column.digits)),
            Head("front", "front", right=False),
            ROW,
        )
        views.append(View(f"{title}, protocol {table.protocol}", heads, tuple(rows), NOTES))
    return [view for view in views if view.rows]


NOTES = (
    "latency: time of one sample over that of one teacher forward, both in the same process.",
    "front: no other row is at least as fast and at least as good, by means.",
)
