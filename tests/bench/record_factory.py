"""Plausible records for tests: never results."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bench.record import (
    Cost,
    CurvePoint,
    Failure,
    Latency,
    MetricValue,
    Provenance,
    Record,
    Row,
    write_record,
)

SPEC = ("suite", "label", "kind", "config", "budget", "seed", "protocol")
SHIFTS = (0.0, 0.3, -0.3)  # of the primary metric, by training seed


def value(mean: float, half: float | None = 0.1) -> MetricValue:
    """A metric with a symmetric interval over three repeats, or a single value."""
    if half is None:
        return MetricValue(mean=mean, values=[mean])
    spread = half / 2.484  # t(0.975, 2) / sqrt(3)
    return MetricValue(
        mean=mean, std=spread, ci95=(mean - half, mean + half), values=[mean - spread, mean, mean + spread]
    )


def row(
    nfe: int, swd: float, half: float | None = 0.1, *, work: float = 1.5e6, steps: int | None = None
) -> Row:
    return Row(
        nfe=nfe,
        nfe_by_role={"student": float(nfe)},
        steps=nfe if steps is None else steps,
        work=work,
        metrics={
            "swd": value(swd, half),
            "energy": value(swd / 10, half and half / 10),
            "within": value(max(0.0, 1 - swd / 100), half and 0.001),
        },
        latency=Latency(
            protocol="latency-b1-cpu@1",
            batch=1,
            median_ms=2.0 * nfe,
            p90_ms=2.5 * nfe,
            teacher_forward_ms=1.9,
            ratio=2.0 * nfe / 1.9,
            beside="network",
        ),
    )


def provenance(**changes: Any) -> Provenance:
    fields: dict[str, Any] = {
        "code_sha": "0" * 40,
        "dirty": False,
        "diff_sha256": None,
        "method_closure_sha256": "1" * 64,
        "packages": {"torch": "2.6.0"},
        "python": "3.11.0",
        "platform": "Linux",
        "device": "cpu",
        "threads": 1,
        "seeds": {"train": 0, "sample": 1000},
        "teacher_sha256": "2" * 64,
        "teacher_form": "exact",
        "reference_sha256": None,
        "extractor_sha256": None,
        "created": "2030-01-01T00:00:00Z",
    }
    return Provenance(**{**fields, **changes})


def record(label: str = "sid", rows: list[Row] | None = None, **changes: Any) -> Record:
    """A finished student of the gmm2d suite; every field can be changed."""
    method = label.partition("[")[0]
    fields: dict[str, Any] = {
        "suite": "gmm2d",
        "suite_version": "1.0",
        "protocol": "gmm2d@1",
        "method": method,
        "method_version": "0.1.0",
        "label": label,
        "kind": "student",
        "paper": "zhou2024sid",
        "config": {},
        "budget": "quick",
        "seed": 0,
        "status": "ok",
        "rows": [row(1, 9.0)] if rows is None else rows,
        "provenance": provenance(),
        "command": f"bench run --suite gmm2d --method {label}",
    }
    fields.update(changes)
    spec = "|".join(
        str(fields[key]) for key in ("suite", "label", "kind", "config", "budget", "seed", "protocol")
    )
    return Record(cell=hashlib.sha256(spec.encode()).hexdigest()[:16], **fields)


def failed(label: str, **changes: Any) -> Record:
    failure = Failure(stage="train", kind="FloatingPointError", message="loss is nan at iteration 12")
    return record(label, [], status="failed", failure=failure, **changes)


def references(budget: str = "quick") -> list[Record]:
    """Floor, a collapse, one solver and the teacher."""

    def reference(kind: str, label: str, rows: list[Row]) -> Record:
        return record(label, rows, kind=kind, paper=None, budget=budget)

    return [
        reference("anchor", "real", [row(0, 4.0, work=0)]),
        reference("anchor", "collapsed", [row(0, 500.0, work=0)]),
        reference("solver", "euler", [row(1, 300.0, work=0), row(2, 80.0, work=0), row(4, 20.0, work=0)]),
        reference("teacher", "teacher[heun]", [row(79, 4.2, work=0)]),
    ]


def curve(last: float, steps: int = 1) -> list[CurvePoint]:
    """A curve that falls to ``last`` at 1.5 M units."""
    return [
        CurvePoint(
            work=1.5e6 / 2**k,
            images=int(3e5 / 2**k),
            steps=steps,
            metrics={"swd": 4 + (last - 4) * 2 ** (k * 0.8)},
        )
        for k in reversed(range(6))
    ]


def cost(work: float = 1.5e6) -> Cost:
    return Cost(
        work=work,
        budget=1.5e6,
        overshoot=max(0.0, work - 1.5e6),
        units_by_role={"student": work / 2, "fake": work / 2},
        forwards_by_role={"student": 1.0},
        backwards_by_role={"student": 1.0},
        iterations=100,
        images=25_600,
        seconds=60.0,
    )


def board() -> list[Record]:
    """A small board: two seeded methods, one with a single seed, a failure, a stop, the references."""
    seeded = [
        record(
            label,
            [row(nfe, base / nfe + shift) for nfe in counts],
            seed=seed,
            curve=[point for nfe in counts for point in curve(base / nfe + shift, nfe)],
            cost=cost(),
            needs=needs,
        )
        for label, base, counts, needs in (("sid", 9.0, (1,), []), ("progressive", 30.0, (1, 2, 4), ["data"]))
        for seed, shift in enumerate(SHIFTS)
    ]
    other = [
        record("dmd", [row(1, 9.2, 0.4)], curve=curve(9.2), cost=cost(), needs=["pairs"]),
        failed("dmd[lr=1.0]", needs=["pairs"]),
        record("lcm", [row(2, 40.0, work=9e5)], status="truncated", needs=["data"]),
    ]
    return [*seeded, *other, *references()]


def write_all(records: list[Record], root: Path) -> Path:
    """Write records as a records folder; returns its root."""
    for one in records:
        write_record(one, root / one.suite / f"{one.cell}.json")
    return root
