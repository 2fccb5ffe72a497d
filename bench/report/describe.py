"""Suites, methods, metrics and records explained in a page of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.record import Record, Row, read_record
from bench.report.reported import summary_text
from bench.report.table import device
from bench.report.text import compact, printable
from bench.suite import Suite
from bench.suite_presets import SolverRows
from bench.suite_protocol import PublishedProtocol


def suite_text(suite: Suite) -> str:
    """A suite: data, ranking, budgets, metrics, references, methods."""
    limits = [(name, f"{compact(b.work)} units" + seconds(b.seconds)) for name, b in suite.budgets.items()]
    solvers = [rows_text(rows, suite) for rows in suite.solver_rows]
    facts = [
        ("teacher", suite.teacher),
        *model_facts(suite),
        ("ranked by", f"{suite.primary}, inside one version, protocol, budget and number of evaluations"),
        ("step counts", numbers(suite.nfe)),
        ("seeds", str(suite.seeds)),
        ("protocol", f"{suite.protocol.id} (see 'bench info {suite.protocol.id}')"),
        ("teacher rows", rows_text(suite.teacher_rows, suite)),
        ("plain solvers", "; ".join(solvers)),
        ("anchors", ", ".join(suite.anchors)),
        *([("papers report", said)] if (said := summary_text(suite)) else []),
    ]
    metrics = [(c.key, f"{c.about} ({better(c.better)})") for c in suite.metrics]
    methods = [
        (name, f"batch {preset.batch}; tuning: {preset.tuning}") for name, preset in suite.methods.items()
    ]
    methods += [(name, f"over another; tuning: {preset.tuning}") for name, preset in suite.wrappers.items()]
    parts = [f"suite {suite.id}: {suite.title}", suite.about, block(facts)]
    parts += ["Budgets", block(limits), "Metrics", block(metrics), "Methods with a preset", block(methods)]
    if suite.published:
        students = [
            (one.label, f"{one.file}, {plural(one.steps, 'step')}: {one.note}") for one in suite.published
        ]
        parts += ["Published students", block(students)]
    return "\n".join(parts)


def model_facts(suite: Suite) -> list[tuple[str, str]]:
    """Network, files and further protocols of a suite on published models."""
    if not isinstance(suite.protocol, PublishedProtocol):
        return []
    others = [("also under", ", ".join(suite.protocol.others))] if suite.protocol.others else []
    if suite.pipeline is not None:
        return [
            ("pipeline", f"{suite.pipeline.folder}, guidance scale {suite.pipeline.guidance:g}"),
            ("files", ", ".join(suite.own_files)),
            ("CLIP score", f"{suite.protocol.clip}, of the same images"),
            *others,
        ]
    assert suite.model is not None
    model = suite.model
    classes = f"{model.classes} classes" if model.classes else "unconditional"
    side = f"{model.resolution} x {model.resolution} x {model.channels}"
    return [
        ("network", f"{model.network}, {side}, {classes}; {model.precision} inside on a GPU"),
        ("files", ", ".join(suite.own_files)),
        *others,
    ]


def rows_text(rows: SolverRows, suite: Suite) -> str:
    """A solver and the evaluations of its rows; a guided call of the denoiser takes two."""
    scale = 1.0 if suite.pipeline is None else rows.guidance or suite.pipeline.guidance
    if scale == 1:
        return f"{rows.label} at {plural(rows.nfe, 'evaluation')}"
    twice = tuple(2 * calls for calls in rows.nfe)
    return f"{rows.label} at {plural(rows.nfe, 'guided call')} ({plural(twice, 'evaluation')})"


def metric_text(key: str, suites: Sequence[Suite]) -> str:
    """A metric in every suite that has it."""
    found = [(suite, column) for suite in suites for column in suite.metrics if column.key == key]
    lines = [
        (suite.id, f"{c.title}: {c.about} ({better(c.better)})" + ("; ranks" if suite.primary == key else ""))
        for suite, c in found
    ]
    return f"metric {key}\n{block(lines)}"


def value_text(value: Any) -> str:
    """A value as it is typed in a selector: members of a list joined with ``+``."""
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def record_text(path: Path) -> str:
    """A record: what was run, what came out, what it cost, how to make it again."""
    record = read_record(path)
    made = record.provenance
    code = (made.code_sha or "unknown commit")[:12] + (" with local changes" if made.dirty else "")
    facts = [
        ("cell", record.cell),
        (
            "suite",
            f"{record.suite}@{record.suite_version}, protocol {record.protocol}, budget {record.budget}",
        ),
        ("method", f"{record.method} {record.method_version}, training seed {record.seed}"),
        ("options", ", ".join(f"{key}={value_text(value)}" for key, value in record.config.items())),
        ("uses", ", ".join(record.needs)),
        ("teacher", made.teacher_form),
        ("status", record.status + failure_text(record)),
        ("spent", cost_text(record)),
        ("made on", f"{device(record)}, {made.platform}, Python {made.python}, {made.created}"),
        ("code", code),
        ("packages", ", ".join(f"{name} {version}" for name, version in made.packages.items())),
        ("make again", record.command),
    ]
    parts = [f"{record.kind} {record.label}", block([fact for fact in facts if fact[1]])]
    parts += ["Results", block([row_text(row) for row in record.rows])] if record.rows else []
    spent = [
        (row_text(row)[0], speed_text(row)) for row in record.rows if row.latency or len(row.nfe_by_role) > 1
    ]
    parts += ["Speed", block(spent)] if spent else []
    parts += ["Notes", *(f"  {note}" for note in record.notes)] if record.notes else []
    tail = record.failure.traceback if record.failure else ""
    parts += ["Traceback", *(f"  {line}" for line in tail.splitlines())] if tail else []
    return "\n".join(shown for part in parts for shown in map(line_text, part.splitlines()))


def row_text(row: Row) -> tuple[str, str]:
    """One result: its evaluations, and every metric with its interval."""
    values = [
        f"{key} {v.mean:.4g}" + (f" [{v.ci95[0]:.4g}, {v.ci95[1]:.4g}]" if v.ci95 else "")
        for key, v in row.metrics.items()
    ]
    return f"{row.nfe} evaluation{'s' if row.nfe != 1 else ''}", ", ".join(values)


def speed_text(row: Row) -> str:
    """Calls by role where there are several, latency with its stages, memory and throughput."""
    said = (
        [f"{calls:.4g} {role}" for role, calls in row.nfe_by_role.items()] if len(row.nfe_by_role) > 1 else []
    )
    timed = row.latency
    if timed is not None:
        beside = "its network" if timed.beside else "the denoiser that methods saw"
        said.append(f"{timed.ratio:.3g} times one teacher forward ({beside})")
        said.append(f"{timed.median_ms:.3g} ms, p90 {timed.p90_ms:.3g} ({timed.protocol})")
        said += [f"{name} {milliseconds:.3g} ms" for name, milliseconds in (timed.stages_ms or {}).items()]
        said += [f"{timed.peak_memory_mib:.3g} MiB at its peak"] if timed.peak_memory_mib is not None else []
    if row.throughput is not None:
        full = row.throughput
        said.append(f"{full.images_per_s or 0:.4g} samples/s at batch {full.batch} ({full.protocol})")
    return ", ".join(said)


def failure_text(record: Record) -> str:
    """`` in STAGE: KIND: MESSAGE`` of a failed cell, else nothing."""
    failure = record.failure
    return f" in {failure.stage}: {failure.kind}: {failure.message}" if failure else ""


def cost_text(record: Record) -> str:
    """What the training took; empty where nothing was trained."""
    cost = record.cost
    if cost is None:
        return ""
    by_role = ", ".join(f"{role} {compact(units)}" for role, units in cost.units_by_role.items())
    return f"{compact(cost.work)} of {compact(cost.budget)} units ({by_role}), {cost.iterations} iterations"


def block(lines: Sequence[tuple[str, str]]) -> str:
    """Two columns, indented."""
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(f"  {name.ljust(width)}  {printable(text)}" for name, text in lines)


def line_text(line: str) -> str:
    """A line made safe to print, its indentation kept."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + "".join(c for c in line[indent:] if c.isprintable())


def numbers(values: Sequence[int]) -> str:
    """``1, 2, 4``."""
    return ", ".join(map(str, values))


def plural(values: Sequence[int], word: str) -> str:
    """``1 step``, ``1, 2, 4 steps``."""
    return f"{numbers(values)} {word}{'' if tuple(values) == (1,) else 's'}"


def better(direction: str) -> str:
    """How to read a metric."""
    return "not ranked by" if direction == "none" else f"{direction} is better"


def seconds(limit: float | None) -> str:
    """A wall-clock limit, if any."""
    return f", at most {limit:g} s" if limit else ""
