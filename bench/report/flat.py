"""Tables as plain rows of named values: what CSV and Parquet hold."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.table import Line, Table
from bench.report.text import printable

Value = str | int | float | None


def flat_rows(tables: Sequence[Table]) -> list[dict[str, Value]]:
    """One dict a line, all with the same keys; a metric takes ``key``, ``key_low`` and ``key_high``."""
    keys = list(dict.fromkeys(column.key for table in tables for column in table.columns))
    lines = [(table, line) for table in tables for section in table.sections for line in section.lines]
    extra = [_extra(line) for _, line in lines]
    names = sorted({name for one in extra for name in one})
    return [
        _row(table, line, keys) | {name: one.get(name) for name in names}
        for (table, line), one in zip(lines, extra, strict=True)
    ]


def _row(table: Table, line: Line, keys: list[str]) -> dict[str, Value]:
    against = line.against
    row: dict[str, Value] = {
        "suite": table.suite,
        "version": table.version,
        "protocol": table.protocol,
        "budget": table.budget,
        "kind": line.kind,
        "method": line.label,
        "nfe": line.nfe,
        "steps": line.steps,
        "status": line.status,
        "rank": line.rank,
        "ties": line.ties,
    }
    for key in keys:
        value = line.metrics.get(key)
        low, high = value.interval or (None, None) if value else (None, None)
        row |= {key: value.mean if value else None, f"{key}_low": low, f"{key}_high": high}
    primary = line.metrics.get(table.primary)
    row |= {
        "interval_over": primary.over if primary else None,
        "excess": line.excess,
        "best_solver": f"{against.solver}@{against.nfe}" if against else None,
        "best_solver_value": against.mean if against else None,
        "verdict": against.verdict if against else None,
        "work": line.work,
        "latency": line.latency,
        "seeds": line.seeds,
        "seeds_started": line.started,
        "uses": "+".join(line.needs),
        "teacher": line.teacher,
        "cells": "+".join(line.cells),
        "id": line.id,
    }
    return {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}


def _extra(line: Line) -> dict[str, Value]:
    """What only some records have: each is a column where one line of the tables has it."""
    roles = {f"nfe_{role.replace(' ', '_')}": calls for role, calls in line.roles if len(line.roles) > 1}
    spread = line.spread.parts if line.spread else {}
    known = {"memory_mib": line.memory, "samples_per_s": line.throughput}
    return {
        **{printable(name): calls for name, calls in roles.items()},
        **{name: value for name, value in known.items() if value is not None},
        **{f"sd_{name}": value for name, value in spread.items()},
    }
