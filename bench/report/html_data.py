"""What the page's script needs beyond its tables: provenance, curves, points, BibTeX; equal parts once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bench.record import Record
from bench.references import FRAME, bibliography, entry, keys_of, software
from bench.report.curves import Excess, line_name
from bench.report.html_rows import Grid
from bench.report.pareto import points
from bench.report.profile import profiles
from bench.report.rowid import record_digest
from bench.report.table import Line, Table
from bench.report.text import printable
from bench.report.views import Shown
from bench.suite import MetricColumn

DIGITS = 4  # significant, of what is drawn
OWN = ("code_sha", "method_closure_sha256")  # of the provenance, what rarely is equal
SHORT = 16  # hexadecimal digits of a digest; the record has them all
CURVES = 10  # profiles that are drawn


class Pool:
    """Values kept once, named by their place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """The place of a value, which is added if it is new."""
        key = repr(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def page_data(boards: Sequence[Shown], grids: Sequence[Sequence[Grid]]) -> dict[str, Any]:
    """The JSON block of the page."""
    pools = {name: Pool() for name in ("makers", "options", "works")}
    tables: list[dict[str, Any]] = []
    records: dict[str, dict[str, Any]] = {}
    bib = {FRAME: entry(FRAME)}
    rows: list[dict[str, Any]] = []  # in the order of the page's rows
    for shown, made in zip(boards, grids, strict=True):
        for grid in made:
            front = {point.line.id for point in points(grid.table, _ranking(shown)) if point.front}
            for line in grid.lines:
                rows.append(row_data(line, len(tables), shown, line.id in front, pools["works"]))
            tables.append(table_data(grid.table, shown))
        for record in shown.records:
            records[record.cell] = record_data(record, pools)
            if record.paper:
                bib[record.paper] = _entry(record.paper)
        bib |= {key: entry(key) for key in keys_of(shown.suite)}
    return {
        "tables": tables,
        "profiles": _profiles(boards),
        "bib": bib,
        **{name: pool.values for name, pool in pools.items()},
        "records": records,
        "rows": rows,
    }


def _ranking(shown: Shown) -> MetricColumn:
    return shown.suite.column(shown.suite.primary)


def _entry(key: str) -> str:
    """BibTeX of a paper; a plugin may cite one that the bibliography does not have."""
    return bibliography().get(key, f"% {printable(key)}")


def table_data(table: Table, shown: Shown) -> dict[str, Any]:
    """What the plots of a table need."""
    excess = Excess.of(shown.records, shown.suite.model_copy(update={"version": table.version}))
    column = shown.suite.column(shown.suite.primary)
    return {
        "suite": table.suite,
        "id": f"{table.suite}@{table.version}",
        "budget": table.budget,
        "protocol": table.protocol,
        "metric": column.title,
        "key": column.key,
        "sign": excess.sign,
        "floor": _short(excess.floor),
        "smallest": _short(excess.smallest),
        "teacher": _short(excess.teacher),
        "cite": software((f"{table.suite}@{table.version}",)),
        "frame": FRAME,
        "keys": list(keys_of(shown.suite)),
        "devices": list(table.devices),
    }


def row_data(line: Line, table: int, shown: Shown, front: bool, works: Pool) -> dict[str, Any]:
    """A row: its records, point and curve; what its cells show is not said again."""
    records = shown.records_of(line)
    value = line.metrics.get(shown.suite.primary)
    found: dict[str, Any] = {
        "t": table,
        "k": None if line.kind == "student" else line.kind,
        "m": None if (name := printable(line_name(line.label))) == printable(line.label) else name,
        "n": line.nfe,
        "s": None if line.steps == line.nfe else line.steps,
        "c": list(line.cells) if records else [],
        "x": _short(line.latency),
        "y": _short(value.mean) if value else None,
        "f": int(front),
        "note": printable(line.note),
        "q": _curve(records, line, shown.suite.primary, works) if line.kind == "student" else None,
    }
    return {key: each for key, each in found.items() if each not in (None, "", 0, []) or key == "t"}


def _curve(records: Sequence[Record], line: Line, primary: str, works: Pool) -> list[Any] | None:
    """Place of the works, and the primary metric at them: the mean over seeds."""
    runs = [
        [(p.work, p.metrics[primary]) for p in record.curve if p.steps == line.steps and primary in p.metrics]
        for record in records
    ]
    steps = list(zip(*runs, strict=False)) if runs else []
    if len(steps) < 2:
        return None
    along = [_short(fmean(work for work, _ in step)) for step in steps]
    return [works.place(along), [_short(fmean(value for _, value in step)) for step in steps]]


def record_data(record: Record, pools: dict[str, Pool]) -> dict[str, Any]:
    """A record: its digest, seed, when and how it was made, and what it cost."""
    made = record.provenance
    maker = made.model_dump(mode="json", exclude={"created", "seeds", *OWN}, exclude_none=True)
    found: dict[str, Any] = {
        "d": record_digest(record)[:SHORT],
        "s": record.seed,
        "w": made.created,
        "p": pools["makers"].place({key: _cut(value) for key, value in maker.items()}),
        "o": pools["options"].place(record.config) if record.config else None,
        "code": [_cut(getattr(made, name) or "") for name in OWN],
        "v": record.method_version,
        "paper": record.paper,
        "cmd": printable(record.command),
        "notes": [printable(note) for note in record.notes],
        "h": [_cut(digest) for row in record.rows for digest in (row.student_sha256, row.samples_sha256)],
    }
    if record.cost:
        found["cost"] = [record.cost.iterations, record.cost.images, round(record.cost.seconds, 1)]
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def _cut(value: Any) -> Any:
    """A digest's first digits; anything else as it is."""
    return value[:SHORT] if isinstance(value, str) and len(value) in (40, 64) else value


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _profiles(boards: Sequence[Shown]) -> list[dict[str, Any]]:
    """The first profiles of every budget that two suites share, ratios in rising order."""
    found = []
    for budget in dict.fromkeys(table.budget for shown in boards for table in shown.tables):
        kept = profiles(boards, budget)[:CURVES]
        lines = [
            {
                "m": one.method,
                "r": sorted(_short(r) or 0 for r in one.ratios if r < 1e9),
                "n": len(one.ratios),
            }
            for one in kept
        ]
        if lines:
            found.append({"budget": budget, "lines": lines})
    return found
