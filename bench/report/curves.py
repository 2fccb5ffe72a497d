"""Training curves from records: the excess of the primary metric over the floor, seeds averaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from bench.errors import UsageError
from bench.record import Record
from bench.report.frame import FLOOR
from bench.selector import Selector, parse_selector
from bench.suite import Suite

Curve = list[tuple[float, float]]  # (work, excess), by work


@dataclass(frozen=True)
class Excess:
    """What curves are shown against.

    Attributes:
        records: of the suite's present version, finished.
        floor: primary metric of real data, by the curve protocol if its record has a curve point, else by the
            full one; None without such a record, then values are shown as they are.
        smallest: excess that cannot be told from none (half the floor's 95 % interval); curves stop there.
        teacher: the excess of the teacher's best row, None without one.
    """

    records: tuple[Record, ...]
    key: str
    sign: int
    floor: float | None
    smallest: float
    teacher: float | None

    @classmethod
    def of(cls, records: Sequence[Record], suite: Suite) -> Excess:
        """Find floor and teacher among the records."""
        key, sign = suite.primary, -1 if suite.column(suite.primary).better == "higher" else 1
        kept = tuple(r for r in records if r.suite_version == suite.version and r.status == "ok")
        floors = [r for r in kept if r.kind == "anchor" and r.label == FLOOR and r.rows]
        rows = [row.metrics[key] for r in kept if r.kind == "teacher" for row in r.rows]
        if not floors:
            return cls(kept, key, sign, None, 0.0, min((sign * v.mean for v in rows), default=None))
        full = floors[0].rows[0].metrics[key]
        point = floors[0].curve[0].metrics[key] if floors[0].curve else full.mean
        half = (full.ci95[1] - full.ci95[0]) / 2 if full.ci95 else 0.01 * abs(full.mean)
        teacher = min((sign * (v.mean - full.mean) for v in rows), default=None)
        return cls(kept, key, sign, point, max(half, 1e-12), teacher)

    def curves(self) -> dict[tuple[str, int], Curve]:
        """Curves by (name, steps), the mean over seeds; the name tells the budget where there are several."""
        students = [r for r in self.records if r.kind == "student"]
        several = len({r.budget for r in students}) > 1
        seeds: dict[tuple[str, int], list[Curve]] = defaultdict(list)
        for record in students:
            line = line_name(record.label)
            name = f"{line}, {record.budget}" if several else line
            for steps in {point.steps for point in record.curve}:
                points = [(p.work, p.metrics[self.key]) for p in record.curve if p.steps == steps]
                seeds[name, steps].append(
                    sorted((w, self.sign * (v - (self.floor or 0.0))) for w, v in points)
                )
        return {key: [_mean(points) for points in zip(*runs, strict=False)] for key, runs in seeds.items()}


def line_name(label: str) -> str:
    """A label without ``steps=``: the panel says the step count, and all its trainings share a colour."""
    try:
        selector = parse_selector(label)
    except UsageError:  # a record may carry any label
        return label
    return Selector(selector.name, tuple(pair for pair in selector.options if pair[0] != "steps")).label


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return mean(work for work, _ in points), mean(value for _, value in points)
