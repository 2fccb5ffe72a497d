"""The rows of a suite that claims are about, found by method and options of the record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.claims.verdicts import Side
from bench.record import MetricValue, Record, Row
from bench.report.collect import identity
from bench.report.frame import FLOOR
from bench.report.statistics import student_t975
from bench.selector import Selector, parse_selector
from bench.shift_report import ShiftReport
from bench.suite import Suite

STRUCTURE = ("steps", "base")  # options that say which row it is, not which variant


@dataclass(frozen=True)
class Wanted:
    """A row that a claim needs.

    Attributes:
        options: fields of the record's config that it must have; all else as in the suite's preset.
    """

    method: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """As in tables, with the step count: ``dmd2@1``."""
        given = tuple(sorted((key, str(value)) for key, value in self.options.items()))
        return f"{Selector(self.method, given).label}@{self.steps}"


@dataclass(frozen=True)
class Board:
    """What one suite has measured at one budget.

    Attributes:
        records: finished ones of the suite's present version and protocol.
        shift: the report of ``bench shift``, if any.
    """

    suite: Suite
    budget: str
    records: tuple[Record, ...]
    shift: ShiftReport | None = None

    @classmethod
    def of(
        cls, records: Sequence[Record], suite: Suite, budget: str, shift: ShiftReport | None = None
    ) -> Board:
        """Choose the records that may be compared."""
        kept = (
            r
            for r in records
            if (r.suite_version, r.protocol, r.status) == (suite.version, suite.protocol.id, "ok")
            and (r.kind != "student" or r.budget == budget)
        )
        current = shift if shift is not None and shift.suite_version == suite.version else None
        return cls(suite, budget, tuple(kept), current)

    @property
    def better(self) -> str:
        """Direction of the primary metric."""
        return self.suite.column(self.suite.primary).better

    def trainings(self, wanted: Wanted) -> list[tuple[Record, Row]]:
        """The trainings of a row, by seed; empty if there is none.

        Of several sets of options that fit, the one with most seeds counts, then the one named most plainly.
        """
        groups: dict[tuple[object, ...], list[tuple[Record, Row]]] = defaultdict(list)
        for record in self.records:
            row = next((row for row in record.rows if row.steps == wanted.steps), None)
            if record.kind == "student" and row is not None and self.fits(record, wanted):
                groups[identity(record)].append((record, row))
        if not groups:
            return []
        best = min(
            groups.values(), key=lambda g: (-len(g), len(g[0][0].label), g[0][0].label, repr(g[0][0].config))
        )
        return sorted(best, key=lambda pair: pair[0].seed)

    def fits(self, record: Record, wanted: Wanted) -> bool:
        """Whether a record is of the method, has the options, and differs from the preset in nothing else."""
        if record.method != wanted.method:
            return False
        if any(record.config.get(key) != value for key, value in wanted.options.items()):
            return False
        given = parse_selector(record.label).options
        return all(
            key in STRUCTURE or key in wanted.options or self.preset(record, key) == _typed(text)
            for key, text in given
        )

    def preset(self, record: Record, key: str) -> Any:
        """The suite's own value of an option, None if it has none."""
        name = record.config.get("base", record.method)
        preset = self.suite.methods.get(name)
        return None if preset is None else preset.options.get(key)

    def side(self, wanted: Wanted) -> Side | None:
        """The primary metric of a row; None if it was not measured."""
        found = self.trainings(wanted)
        if not found:
            return None
        values = tuple(row.metrics[self.suite.primary] for _, row in found)
        return Side(wanted.label, values, found[0][0].provenance.seeds.get("sample"))

    def shift_side(self, wanted: Wanted) -> Side | None:
        """The covariate shift of a row, of those trainings whose student was measured; None without any."""
        if self.shift is None:
            return None
        rows = {(row.cell, row.steps, row.student_sha256): row for row in self.shift.rows}
        keys = [(r.cell, row.steps, row.student_sha256 or "") for r, row in self.trainings(wanted)]
        found = [rows[key] for key in keys if key in rows]
        if not found:
            return None
        return Side(wanted.label, tuple(measured(row.distance) for row in found), self.shift.protocol.seed)

    def teacher(self) -> Side | None:
        """The teacher at its largest NFE."""
        rows = [(row.nfe, record, row) for record in self.references("teacher") for row in record.rows]
        if not rows:
            return None
        nfe, record, row = max(rows, key=lambda found: found[0])
        value = row.metrics[self.suite.primary]
        return Side(f"{record.label}@{nfe}", (value,), record.provenance.seeds.get("sample"), student=False)

    def references(self, kind: str) -> list[Record]:
        """Records of a kind of reference, one of each; those made beside another budget serve as well."""
        chosen: dict[str, Record] = {}
        for record in sorted(self.records, key=lambda r: (r.budget != self.budget, r.budget, r.seed)):
            if record.kind == kind:
                chosen.setdefault(record.label, record)
        return list(chosen.values())

    def anchors(self) -> dict[str, float]:
        """Primary metric of generators that are no model, by name; real data is the floor."""
        return {
            record.label: record.rows[0].metrics[self.suite.primary].mean
            for record in sorted(self.references("anchor"), key=lambda r: (r.label != FLOOR, r.label))
            if record.rows
        }

    def untrained(self, method: str) -> float | None:
        """What students of a method score before training, at their fewest steps, by the curve protocol."""
        points = [
            (point.steps, record.label, record.seed, point.metrics[self.suite.primary])
            for record in self.records
            if record.kind == "student" and record.method == method
            for point in record.curve
            if point.work == 0
        ]
        return min(points)[3] if points else None


def measured(values: Sequence[float]) -> MetricValue:
    """A metric from its repeats, as a record writes it."""
    n = len(values)
    centre = sum(values) / n
    if n < 2:
        return MetricValue(mean=centre, values=list(values))
    std = (sum((v - centre) ** 2 for v in values) / (n - 1)) ** 0.5
    half = student_t975(n - 1) * std / n**0.5
    return MetricValue(mean=centre, std=std, ci95=(centre - half, centre + half), values=list(values))


def _typed(text: str) -> float | str:
    """An option's text as the number it spells, if it does."""
    try:
        return float(text)
    except ValueError:
        return text
