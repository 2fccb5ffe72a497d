"""Tables as plain rows of named values: what CSV and Parquet hold."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.reported import listed_under
from bench.report.table import Line, Table
from bench.report.text import printable
from bench.reported import Reported

Value = str | int | float | None
SEVERAL = " | "  # between numbers of papers that stand beside one measured line


def flat_rows(tables: Sequence[Table]) -> list[dict[str, Value]]:
    """One dict a line, all with the same keys; a metric takes ``key``, ``key_low`` and ``key_high``.

    Numbers of the papers are lines of kind "reported", whose measured columns are empty.
    """
    keys = list(dict.fromkeys(column.key for table in tables for column in table.columns))
    lines = [(table, line) for table in tables for section in table.sections for line in section.lines]
    rows = [(_row(table, line, keys), _extra(line)) for table, line in lines]
    for i, table in enumerate(tables):
        rows += [(_paper_row(table, one), _sources([one])) for one in listed_under(tables, i)]
    shared = dict.fromkeys(name for row, _ in rows for name in row)
    names = (*shared, *sorted({name for _, extra in rows for name in extra}))
    return [{name: (row | extra).get(name) for name in names} for row, extra in rows]


def _paper_row(table: Table, number: Reported) -> dict[str, Value]:
    """What a number of a paper fills of the columns of measured lines."""
    return {
        "suite": table.suite,
        "version": table.version,
        "kind": "reported",
        "method": printable(number.method),
        "nfe": number.nfe,
    }


def _sources(numbers: Sequence[Reported]) -> dict[str, Value]:
    """Numbers of papers with their sources, in the same order in each column."""
    columns = {
        "reported": [one.text for one in numbers],
        "reported_metric": [one.metric for one in numbers],
        "reported_variant": [one.variant for one in numbers],
        "reported_paper": [one.paper for one in numbers],
        "reported_table": [one.table for one in numbers],
        "reported_second_hand": ["yes" if one.second_hand else "no" for one in numbers],
    }
    return {name: printable(SEVERAL.join(values)) for name, values in columns.items() if numbers}


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
        **({"superseded_by": line.superseded} if line.superseded else {}),
        **{f"sd_{name}": value for name, value in spread.items()},
        **_sources(line.reported),
    }
