"""Anytime boards: where every training stood at a quarter, half and the whole of its work.

From the curves of the records, so it costs no further run. A curve is measured by the smaller curve protocol
with a seed block of its own: its numbers compare with each other, not with those of the board.
"""

from __future__ import annotations

from bench.record import MetricValue, Record
from bench.report.columns import number, scope
from bench.report.statistics import Estimate, estimate
from bench.report.table import Line, Table
from bench.report.views import METHOD, NFE, ROW, Head, Shown, View, decimals, lines_of

SHARES = {0.25: "1/4", 0.5: "1/2", 1.0: "full"}
SLACK = 1.02  # a snapshot is taken at the end of the iteration that reaches its share


def anytime(line: Line, shown: Shown) -> list[Estimate | None]:
    """The primary metric of a row at each share of its budget: of the last snapshot within that work."""
    records = shown.records_of(line) if line.kind == "student" else []
    return [_at(records, line.steps, share, shown) for share in SHARES]


def _at(records: list[Record], steps: int | None, share: float, shown: Shown) -> Estimate | None:
    values = []
    for record in records:
        limit = record.cost.budget if record.cost else _limit(record, shown)
        points = [
            (point.work, point.metrics[shown.suite.primary])
            for point in record.curve
            if point.steps == steps and 0 < point.work <= share * limit * SLACK
            if shown.suite.primary in point.metrics
        ]
        if not points:
            return None
        value = max(points)[1]
        values.append(MetricValue(mean=value, values=[value]))
    return estimate(values) if values else None


def _limit(record: Record, shown: Shown) -> float:
    budgets = shown.suite.budgets
    return float(budgets[record.budget].work) if record.budget in budgets else 0.0


def anytimes(shown: Shown) -> list[View]:
    """One view a table: rows by step count, with value and place at each share of the work."""
    return [view for table in shown.tables if (view := _view(table, shown)).rows]


def _view(table: Table, shown: Shown) -> View:
    column = shown.suite.column(shown.suite.primary)
    sign = -1 if column.better == "higher" else 1
    lines = [(line, anytime(line, shown)) for line in lines_of(table) if line.kind == "student"]
    lines = [(line, found) for line, found in lines if any(found)]
    places: list[dict[str, int]] = []
    for k in range(len(SHARES)):
        order = sorted(
            (line.steps or 0, sign * at.mean, line.id)
            for line, found in lines
            if (at := found[k]) is not None
        )
        first = {steps: i for i, (steps, _, _) in reversed(list(enumerate(order)))}
        places.append({one: 1 + i - first[steps] for i, (steps, _, one) in enumerate(order)})
    lines.sort(key=lambda pair: (pair[0].steps or 0, places[-1].get(pair[0].id, len(lines)), pair[0].id))
    rows = [
        (
            line.label,
            line.nfe,
            *(v for found, place in zip(at, places, strict=True) for v in (_mean(found), place.get(line.id))),
            line.id,
        )
        for line, at in lines
        if shown.shows(line)
    ]
    text = decimals(column.digits)
    heads = [
        head
        for name in SHARES.values()
        for head in (Head(f"at_{name}", f"{column.title} at {name}", text), Head(f"place_{name}", "#"))
    ]
    title = f"Anytime: {scope(table)}, budget {table.budget}, protocol {table.protocol}"
    return View(title, (METHOD, NFE, *heads, ROW), tuple(rows), NOTES)


def _mean(found: Estimate | None) -> float | None:
    return None if found is None else found.mean


def anytime_texts(line: Line, shown: Shown) -> list[str]:
    """The values of a row as text, with intervals where there are several seeds."""
    digits = shown.suite.column(shown.suite.primary).digits
    return ["" if one is None else number(one, digits, mark=False) for one in anytime(line, shown)]


NOTES = (
    "Values are of the last snapshot within a quarter, half and the whole of the work, by the curve "
    "protocol: they compare with each other, not with the board.",
    "# is the place by the mean among rows of the same step count: an order, no test.",
)
