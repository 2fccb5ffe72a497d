"""The model of a leaderboard: records grouped into what may be ranked together, seeds averaged, ranked.

A row's numbers come from its own records, the suite's anchors and plain solvers only; other methods decide
nothing but its rank and its tie letters.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from bench.record import Record, Row
from bench.report.brought import Brought, columns_of, keys_of, values_of
from bench.report.collect import identity
from bench.report.frame import Against, Frame, frame_of
from bench.report.reported import numbers_for, with_reported
from bench.report.rowid import record_digest, row_id
from bench.report.statistics import Estimate, estimate, ranks, tie_letters
from bench.report.superseded import with_superseded
from bench.report.variance import VarianceSplit, spread_of_trainings
from bench.reported import Reported
from bench.suite import MetricColumn, Suite

UNRANKED = {
    "published": "published weights, not ranked: trained elsewhere, loaded and measured here",
    "external": "external, not ranked: samples that others made, evaluations as they state them",
}


@dataclass(frozen=True)
class Line:
    """One line of a table: a method (or reference) at one NFE, seeds averaged.

    Attributes:
        nfe, steps: counted evaluations per sample, and the step count asked for; None if nothing was sampled.
        excess: primary metric beyond the floor, in the direction of worse.
        work: training units spent; latency: sampling time over that of one teacher forward.
        seeds, started: trainings in this line, and all that were started with these options.
        needs: what the method used besides the teacher; teacher: its form.
        roles: calls per sample by role; memory: MiB at the peak of a call; throughput: samples per second.
        spread: of the primary metric by source, where several trainings met the same blocks.
        scales: of guidance: ``learned`` as an input by its students, and ``asked`` of its samples.
        reported: what the method's paper states at these evaluations; never ranked, in no statistic.
        rank, ties: None and "" for lines that are not ranked.
        id: names the row and the records behind it (``bench.report.rowid``).
        superseded: of an older version of the suite: the row or the suite that stands for it now; else "".
    """

    label: str
    method: str
    kind: str
    budget: str
    status: str
    nfe: int | None
    steps: int | None
    metrics: dict[str, Estimate]
    excess: float | None
    work: float | None
    latency: float | None
    seeds: int
    started: int
    needs: tuple[str, ...]
    teacher: str
    cells: tuple[str, ...]
    note: str = ""
    against: Against | None = None
    rank: int | None = None
    ties: str = ""
    roles: tuple[tuple[str, float], ...] = ()
    memory: float | None = None
    throughput: float | None = None
    spread: VarianceSplit | None = None
    scales: tuple[tuple[str, Any], ...] = ()
    id: str = ""
    reported: tuple[Reported, ...] = ()
    superseded: str = ""


@dataclass(frozen=True)
class Section:
    """Lines under one heading; lines of one section with a rank are ranked together."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """All that may be compared: one suite version, protocol and budget.

    Attributes:
        provisional: the protocol does not pin its feature network yet, so numbers may still move.
        floor: primary metric of real data against the reference, None without such a record.
        devices: what the records were made on.
        brought: the columns that plugins brought, which are the last of ``columns``.
        superseded: the present version of the suite, where the table is of an older one; else "".
        reported: few-step numbers of the papers on the suite's data set; no part of any section.
    """

    suite: str
    title: str
    version: str
    protocol: str
    budget: str
    primary: str
    columns: tuple[MetricColumn, ...]
    floor: float | None
    provisional: bool
    devices: tuple[str, ...]
    sections: tuple[Section, ...]
    reported: tuple[Reported, ...] = ()
    brought: tuple[Brought, ...] = ()
    superseded: str = ""


def tables(records: Iterable[Record], suite: Suite) -> list[Table]:
    """One table per (version, protocol, budget) that has students; references alone make one of their own.

    Those of older versions of the suite come last.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    records = list(records)
    brought = keys_of(records)
    for record in records:
        groups[".".join(record.suite_version.split(".")[:2]), record.protocol].append(record)
    made = []
    for (version, protocol), members in sorted(groups.items()):
        students = [r for r in members if r.kind == "student"]
        foreign = [r for r in members if r.kind in UNRANKED]  # of no budget: shown beside every one
        others = [r for r in members if r.kind not in ("student", *UNRANKED)]
        budgets = {r.budget for r in students or others or foreign}
        for budget in sorted(budgets, key=lambda name: (_work(suite, name), name)):
            chosen = [r for r in students if r.budget == budget], _references(others, budget), foreign
            made.append(_table(suite, version, protocol, budget, *chosen, brought))
    numbers = numbers_for(suite)
    return [with_reported(table, numbers) for table in with_superseded(made, suite)]


def device(record: Record) -> str:
    """What a record was made on, with the thread count, which is part of it."""
    threads = record.provenance.threads
    return f"{record.provenance.device}, {threads} thread{'s' if threads != 1 else ''}"


def _work(suite: Suite, budget: str) -> float:
    return suite.budgets[budget].work if budget in suite.budgets else float("inf")


def _references(records: list[Record], budget: str) -> list[Record]:
    """One record of each reference: they train nothing, so those made beside another budget serve as well."""
    preferred = sorted(records, key=lambda r: (r.budget != budget, r.budget, r.seed))
    chosen: dict[tuple[object, ...], Record] = {}
    for record in preferred:
        chosen.setdefault(identity(record), record)
    return list(chosen.values())


def _table(
    suite: Suite,
    version: str,
    protocol: str,
    budget: str,
    students: list[Record],
    references: list[Record],
    foreign: list[Record],
    brought: dict[tuple[str, str], str],
) -> Table:
    records = [*students, *foreign, *references]
    keys = {key for record in records for row in record.rows for key in row.metrics}
    frame = frame_of(suite, references, protocol, brought)
    added = columns_of(records, brought)
    lines = _lines(students, frame)
    counts = sorted({line.nfe for line in lines if line.nfe is not None})
    sections = [
        Section(f"{n} evaluation{'s' if n != 1 else ''}", _ranked([li for li in lines if li.nfe == n], frame))
        for n in counts
    ]
    lost = sorted((line for line in lines if line.nfe is None), key=lambda line: (line.label, line.status))
    shown = sorted(_lines(references, frame), key=lambda li: (KINDS.index(li.kind), li.label, li.nfe or 0))
    sections += [Section("no result", _named_apart(lost))] if lost else []
    sections += _unranked(_lines(foreign, frame))
    sections += [Section("references", _named_apart(shown))] if shown else []
    return Table(
        suite=suite.name,
        title=suite.title,
        version=version,
        protocol=protocol,
        budget=budget,
        primary=suite.primary,
        columns=(*(c for c in suite.metrics if c.key in keys), *(column for column, _ in added)),
        floor=frame.floor,
        provisional=suite.protocol.provisional,
        devices=tuple(sorted({device(r) for r in records})),
        sections=tuple(sections),
        brought=tuple(one for _, one in added),
    )


def _unranked(lines: list[Line]) -> list[Section]:
    """A section for each kind of rows that others made."""
    lines = sorted(lines, key=lambda line: (line.nfe or 0, line.label))
    found = [(title, [line for line in lines if line.kind == kind]) for kind, title in UNRANKED.items()]
    return [Section(title, _named_apart(others)) for title, others in found if others]


KINDS = ("anchor", "solver", "teacher")


def _lines(records: list[Record], frame: Frame) -> list[Line]:
    """Lines of (method with options, status, NFE), averaged over training seeds."""
    seeds: dict[Any, set[int]] = defaultdict(set)
    parts: dict[tuple[Any, ...], list[tuple[Record, Row | None]]] = defaultdict(list)
    for record in records:
        seeds[identity(record)].add(record.seed)
        found: list[Row | None] = [*record.rows] or [None]
        for row in found:
            parts[identity(record), record.status, row and (row.nfe, row.steps)].append((record, row))
    digests = {id(record): record_digest(record) for record in records}
    return [
        replace(_line(members, len(seeds[key[0]]), frame), id=row_id(members, digests))
        for key, members in parts.items()
    ]


def over_network(record: Record, row: Row) -> bool:
    """Whether a latency stands beside a forward of the teacher's network; older ones had its closed form."""
    timed = row.latency
    return timed is not None and (timed.beside == "network" or record.provenance.teacher_form == "network")


def _line(members: Sequence[tuple[Record, Row | None]], started: int, frame: Frame) -> Line:
    first, rows = members[0][0], [row for _, row in members if row is not None]
    valued = [values_of(r, row, frame.brought) | row.metrics for r, row in members if row is not None]
    keys = set.intersection(*map(set, valued)) if valued else set()
    metrics = {key: estimate([values[key] for values in valued], frame.aggregate) for key in sorted(keys)}
    timed = [row.latency for r, row in members if row and row.latency and over_network(r, row)]
    full = [row.throughput.images_per_s or 0.0 for row in rows if row.throughput is not None]
    peaks = [latency.peak_memory_mib for latency in timed if latency.peak_memory_mib is not None]
    primary = [row.metrics[frame.primary].values for row in rows if frame.primary in row.metrics]
    failures = [f"{r.failure.stage}: {r.failure.kind}: {r.failure.message}" for r, _ in members if r.failure]
    student = first.kind == "student"
    return Line(
        label=first.label,
        method=first.method,
        kind=first.kind,
        budget=first.budget,
        status=first.status,
        nfe=rows[0].nfe if rows else None,
        steps=rows[0].steps if rows else None,
        metrics=metrics,
        excess=frame.excess(metrics),
        work=mean(row.work for row in rows) if rows and student else None,
        latency=mean(latency.ratio for latency in timed) if timed else None,
        seeds=len(members),
        started=started,
        needs=tuple(first.needs),
        teacher=first.provenance.teacher_form,
        cells=tuple(sorted(record.cell for record, _ in members)),
        note=failures[0] if failures else "",
        against=frame.against(rows[0].nfe, metrics) if rows and student else None,
        roles=tuple(sorted(rows[0].nfe_by_role.items())) if rows else (),
        memory=max(peaks) if peaks else None,
        throughput=mean(full) if full else None,
        spread=spread_of_trainings(primary) if student else None,
        scales=tuple((k, v) for k, v in (first.preset or {}).items() if k in ("learned", "asked")),
    )


def _ranked(lines: list[Line], frame: Frame) -> tuple[Line, ...]:
    """Lines of one NFE, best first; those stopped early or without the primary metric follow, unranked."""
    sign = 1 if frame.better == "lower" else -1
    able = frame.better != "none"
    valid = [line for line in lines if able and line.status == "ok" and frame.primary in line.metrics]
    valid.sort(key=lambda line: (sign * line.metrics[frame.primary].mean, line.label))
    values = [line.metrics[frame.primary] for line in valid]
    places = zip(valid, ranks(values, frame.better), tie_letters(values, frame.better), strict=True)
    ranked = {id(line) for line in valid}
    rest = sorted((li for li in lines if id(li) not in ranked), key=lambda line: (line.status, line.label))
    return _named_apart([*(replace(line, rank=rank, ties=ties) for line, rank, ties in places), *rest])


def _named_apart(lines: list[Line]) -> tuple[Line, ...]:
    """Give lines of one label, status and NFE but other options or versions a suffix from their cells."""
    count = Counter((line.label, line.status, line.nfe) for line in lines)

    def suffix(line: Line) -> str:
        return " #" + hashlib.sha256("".join(line.cells).encode()).hexdigest()[:4]

    return tuple(
        replace(line, label=line.label + suffix(line))
        if count[line.label, line.status, line.nfe] > 1
        else line
        for line in lines
    )
