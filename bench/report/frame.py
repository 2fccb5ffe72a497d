"""What the rows of a table are set against: the floor, and the best plain solver of no more evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.record import Record
from bench.report.statistics import Aggregate, Estimate, clearly_better, estimate
from bench.suite import Suite
from bench.suite_protocol import SMOKE
from metrics.protocols.registry import shipped_protocols

FLOOR = "real"  # the anchor that draws real data


@dataclass(frozen=True)
class Against:
    """A student against the best plain solver of no more evaluations.

    Attributes:
        verdict: "better" and "worse" need disjoint intervals; else "level".
    """

    solver: str
    nfe: int
    mean: float
    verdict: Literal["better", "level", "worse"]


@dataclass(frozen=True)
class Frame:
    """What every line of a table is shown against.

    Attributes:
        aggregate: what is shown of a record's repeats.
        brought: keys of the columns of plugin metrics, by name and version.
    """

    primary: str
    better: str
    floor: float | None
    solvers: tuple[tuple[str, int, Estimate], ...]
    aggregate: Aggregate = "mean"
    brought: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def excess(self, metrics: dict[str, Estimate]) -> float | None:
        """Primary metric beyond the floor; None if either is missing."""
        if self.floor is None or self.primary not in metrics:
            return None
        gap = metrics[self.primary].mean - self.floor
        return gap if self.better == "lower" else -gap

    def against(self, nfe: int, metrics: dict[str, Estimate]) -> Against | None:
        """Compare with the best solver of at most ``nfe`` evaluations; None without one."""
        rivals = [solver for solver in self.solvers if solver[1] <= nfe]
        if not rivals or self.primary not in metrics:
            return None
        sign = 1 if self.better == "lower" else -1
        label, evaluations, theirs = min(rivals, key=lambda rival: (sign * rival[2].mean, rival[:2]))
        ours = metrics[self.primary]
        better, worse = clearly_better(ours, theirs, self.better), clearly_better(theirs, ours, self.better)
        return Against(label, evaluations, theirs.mean, "better" if better else "worse" if worse else "level")


def aggregate_of(protocol: str) -> Aggregate:
    """What a protocol's headline is of its repeats: the mean, unless a shipped protocol says otherwise."""
    law = shipped_protocols().get(protocol.removesuffix(SMOKE))
    return law.repeats.aggregate if law else "mean"


def frame_of(
    suite: Suite, references: Sequence[Record], protocol: str, brought: Mapping[tuple[str, str], str]
) -> Frame:
    """The frame of a table from its references; anchors are fixed: no submitted solver moves a row."""
    named, aggregate = {rows.label for rows in suite.solver_rows}, aggregate_of(protocol)

    def measured(kind: str) -> list[tuple[str, int, Estimate]]:
        return [
            (record.label, row.nfe, estimate([row.metrics[suite.primary]], aggregate))
            for record in references
            for row in record.rows
            if record.kind == kind and record.status == "ok" and suite.primary in row.metrics
            if kind != "solver" or record.label in named
        ]

    floors = [value.mean for label, _, value in measured("anchor") if label == FLOOR]
    better = suite.column(suite.primary).better
    return Frame(
        suite.primary, better, floors[0] if floors else None, tuple(measured("solver")), aggregate, brought
    )
