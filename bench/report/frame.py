"""What the rows of a table are set against: the floor, and the best plain solver of no more evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.report.statistics import Aggregate, Estimate, clearly_better


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
