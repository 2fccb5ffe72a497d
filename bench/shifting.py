"""Covariate shift of published students: which ones, from which runs, into which report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import Tensor

from bench.api import load
from bench.errors import BenchError, UsageError
from bench.lab import Lab
from bench.provenance import code_state
from bench.record import Record, Row, read_record
from bench.shift import Forward, Recorder, Visited, shift_levels, state_distance, visited_states
from bench.shift_report import ShiftProtocol, ShiftReport, ShiftRow, read_shift
from bench.suite import Suite

COUNTS = {"points": 20_000, "teacher-view": 2_000}  # states on each side; points are cheap


def measure_row(folder: Path, row: Row, protocol: ShiftProtocol, forward: Forward) -> ShiftRow:
    """The shift of one row of a finished run, its student checked against the record's digest."""
    visits: list[tuple[float, Tensor]] = []
    loaded = load(folder, row.steps, shell=lambda network: Recorder(network, visits))
    lab, record = loaded.lab, loaded.record

    def states(seed: int) -> list[Visited]:
        batch = lab.suite.protocol.batch
        return visited_states(
            loaded.generator, visits, lab, seed=seed, count=protocol.count, steps=row.steps, batch=batch
        )

    seeds = range(protocol.seed, protocol.seed + protocol.repeats)
    levels = shift_levels(states, forward, seeds)
    code_sha, dirty, diff = code_state()
    return ShiftRow(
        cell=record.cell,
        label=record.label,
        budget=record.budget,
        seed=record.seed,
        steps=row.steps,
        student_sha256=row.student_sha256 or "",
        levels=levels,
        code_sha=code_sha,
        dirty=dirty,
        diff_sha256=diff,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def protocol_for(lab: Lab) -> ShiftProtocol:
    """The shift protocol of a suite: its repeats and seeds, ``COUNTS`` states."""
    pinned = lab.suite.protocol
    distance: Literal["points", "teacher-view"] = "teacher-view" if pinned.evaluator == "images" else "points"
    return ShiftProtocol(
        distance=distance,
        count=COUNTS[distance],
        repeats=pinned.repeats,
        seed=pinned.seed,
        teacher_sha256=lab.teacher_sha256,
        extractor_sha256=lab.evaluator.extractor_sha256,
    )


def multi_step(record: Record, budget: str) -> dict[tuple[str, int], Row]:
    """Rows of a finished student with a shift to measure, by (cell, steps)."""
    if record.kind != "student" or record.budget != budget or record.status != "ok":
        return {}
    return {(record.cell, row.steps): row for row in record.rows if row.steps >= 2 and row.student_sha256}


def measure_suite(
    suite: Suite, runs: Path, records: Path, out: Path, budget: str, tell: Callable[[str], None]
) -> ShiftReport:
    """The report of a suite: published students found in ``runs``, and rows of ``out`` that still hold.

    A row of ``out`` is kept if its student is still published and its protocol is the present one.

    Args:
        records: folder with ``<suite>/*.json``; out: report to continue, which is not written here.

    Raises:
        UsageError: no folder ``runs``.
        BenchError: no published multi-step student in ``runs`` nor in ``out``.
    """
    if not runs.is_dir():
        raise UsageError(f"--runs {runs}: no such folder")
    published: dict[tuple[str, int], Row] = {}
    for path in sorted((records / suite.name).glob("*.json")):
        published.update(multi_step(read_record(path), budget))
    lab, before = Lab.open(suite), read_shift(out)
    protocol = protocol_for(lab)
    forward = Forward(lab, state_distance(lab), protocol.count)
    rows = {
        (row.cell, row.steps): row
        for row in (before.rows if before is not None and before.protocol == protocol else [])
        if row.budget != budget or _student(published.get((row.cell, row.steps))) == row.student_sha256
    }
    for folder in sorted(path.parent for path in runs.glob(f"{suite.id}/*/record.json")):
        found = multi_step(read_record(folder / "record.json"), budget)
        for key, row in found.items():
            if key not in rows and _student(published.get(key)) == row.student_sha256:
                rows[key] = measure_row(folder, row, protocol, forward)
                tell(f"{rows[key].label}, seed {rows[key].seed}, {row.steps} steps")
    if not rows:
        raise BenchError(f"{runs}: no student of two or more steps that is published in {records}")
    ordered = sorted(rows.values(), key=lambda row: (row.budget, row.label, row.seed, row.steps))
    return ShiftReport(suite=suite.name, suite_version=suite.version, protocol=protocol, rows=ordered)


def _student(row: Row | None) -> str | None:
    return None if row is None else row.student_sha256
