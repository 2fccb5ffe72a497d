"""Suites, methods, metrics, protocols and records explained in a page of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from bench.catalog import METHODS
from bench.errors import UsageError
from bench.record import Record, Row, read_record
from bench.references import entry
from bench.report.table import device
from bench.report.text import compact, printable
from bench.suite import Suite

if TYPE_CHECKING:
    from baselines.distiller import Distiller
    from bench.anatomy import Anatomy

NEEDS = {
    "data": "real samples",
    "pairs": "(noise, sample) pairs of the teacher, paid for in the budget",
    "features": "encoder features of the teacher's network",
}


def suite_text(suite: Suite) -> str:
    """A suite: data, ranking, budgets, metrics, references, methods."""
    limits = [(name, f"{compact(b.work)} units" + seconds(b.seconds)) for name, b in suite.budgets.items()]
    solvers = [f"{r.solver} at {numbers(r.nfe)}" for r in suite.solver_rows]
    facts = [
        ("teacher", suite.teacher),
        ("ranked by", f"{suite.primary}, inside one version, protocol, budget and number of evaluations"),
        ("step counts", numbers(suite.nfe)),
        ("seeds", str(suite.seeds)),
        ("protocol", f"{suite.protocol.id} (see 'bench info {suite.protocol.id}')"),
        ("teacher rows", f"{suite.teacher_rows.solver} at {numbers(suite.teacher_rows.nfe)} evaluations"),
        ("plain solvers", "; ".join(solvers) + " evaluations"),
        ("anchors", ", ".join(suite.anchors)),
    ]
    metrics = [(c.key, f"{c.about} ({better(c.better)})") for c in suite.metrics]
    methods = [
        (name, f"batch {preset.batch}; tuning: {preset.tuning}") for name, preset in suite.methods.items()
    ]
    methods += [(name, f"over another; tuning: {preset.tuning}") for name, preset in suite.wrappers.items()]
    parts = [f"suite {suite.id}: {suite.title}", suite.about, block(facts)]
    parts += ["Budgets", block(limits), "Metrics", block(metrics), "Methods with a preset", block(methods)]
    return "\n".join(parts)


def protocol_text(suite: Suite) -> str:
    """A protocol: how samples are drawn and scored."""
    protocol = suite.protocol
    labels = {"balanced": "each class equally often", "none": "no labels"}[protocol.labels]
    unpinned = "none" if protocol.evaluator == "points" else "not pinned yet: provisional"
    facts = [
        ("scores", protocol.evaluator),
        ("samples", f"{protocol.samples} in each of {protocol.repeats} repeats"),
        ("seeds", f"{protocol.seed} to {protocol.seed + protocol.repeats - 1}, one a repeat"),
        ("labels", labels),
        ("curves", f"{protocol.curve_samples} samples, seed {protocol.curve_seed}"),
        ("feature network", protocol.extractor_sha256 or unpinned),
        ("metrics", ", ".join(column.key for column in suite.metrics)),
    ]
    return f"protocol {protocol.id}, of suite {suite.id}\n{block(facts)}"


def metric_text(key: str, suites: Sequence[Suite]) -> str:
    """A metric in every suite that has it."""
    found = [(suite, column) for suite in suites for column in suite.metrics if column.key == key]
    lines = [
        (suite.id, f"{c.title}: {c.about} ({better(c.better)})" + ("; ranks" if suite.primary == key else ""))
        for suite, c in found
    ]
    return f"metric {key}\n{block(lines)}"


def method_text(cls: type[Distiller], suites: Sequence[Suite], found: Sequence[Anatomy] = ()) -> str:
    """A method: paper, needs, step counts, networks, work, options with defaults and units, presets.

    Args:
        found: what was counted, once for each method that a wrapper can wrap; empty for plugins.
    """
    known = METHODS.get(cls.name)
    presets = [suite.name for suite in suites if cls.name in {**suite.methods, **suite.wrappers}]
    facts = [
        ("also called", ", ".join(known.aliases) if known else ""),
        ("wraps", ", ".join(known.wraps) if known else ""),
        ("presets", ", ".join(presets)),
    ]
    single = not (known and known.wraps)
    facts += [*class_facts(cls), *(fact for one in found for fact in counted_facts(one))] if single else []
    options = [
        (f"{name}={value_text(field.default)}", f"{field.description or ''} ({constraint(field)})")
        for name, field in cls.Config.model_fields.items()
    ]
    parts = [f"method {cls.name}: {cls.summary}", block([fact for fact in facts if fact[1]])]
    if not single:
        for one in found:
            parts += [one.label, block([*class_facts(one.cls), *counted_facts(one)])]
    parts += ["Options" if single else "Options, beside those of the method it wraps", block(options)]
    return "\n".join([*(part for part in parts if part), "Paper", paper_text(cls.paper)])


def class_facts(cls: type[Distiller]) -> list[tuple[str, str]]:
    """What a class says of itself: needs and step counts."""
    needs = [text for key, text in NEEDS.items() if getattr(cls.needs, key)]
    steps = cls.Config.model_fields.get("steps")
    trainings = "from one training with the defaults"
    counts = cls.served_nfe(cls.Config())
    if steps and get_origin(steps.annotation) is Literal:
        counts, trainings = get_args(steps.annotation), "each from a training of its own"
    return [
        ("needs", ", ".join(needs) or "nothing but the teacher (data-free)"),
        ("step counts", f"{numbers(counts)}, {trainings}"),
    ]


def counted_facts(found: Anatomy) -> list[tuple[str, str]]:
    """What was counted: networks in memory and work by iteration."""
    frozen = {role: " (frozen)" if role in found.frozen else "" for role in found.networks}
    networks = [f"{role}{frozen[role]} {compact(size)}" for role, size in found.networks.items()]
    iterations: dict[str, list[int]] = {}
    for number, units in enumerate(found.work):
        iterations.setdefault(f"{units:.4g}", []).append(number)
    spent = [f"{units} at {numbers(these)}" for units, these in iterations.items()]
    every = f"{next(iter(iterations))} units per sample and iteration"
    where = "iterations from 0; default options, one batch of pairs if any"
    several = f"units per sample: {'; '.join(spent)} ({where})"
    return [
        ("networks", f"{', '.join(networks)} weights on gmm2d"),
        ("work", every if len(spent) == 1 else several),
    ]


def paper_text(key: str) -> str:
    """BibTeX of a paper, or the bare key of a paper that the bibliography does not hold."""
    try:
        return entry(key)
    except UsageError:
        return key


def constraint(field: Any) -> str:
    """Type and range of an option: ``float, > 0``."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [f"{s} {getattr(m, key)}" for m in field.metadata for key, s in signs.items() if hasattr(m, key)]
    return ", ".join([type_text(field.annotation), *limits])


def type_text(kind: Any) -> str:
    """A type in words: ``float``, ``1|2|4``, ``list of int``."""
    inner = [part for part in get_args(kind) if part is not Ellipsis]
    if get_origin(kind) is Literal:
        return "|".join(map(str, inner))
    if get_origin(kind) is tuple:
        return "list of " + ", ".join(dict.fromkeys(map(type_text, inner)))
    if inner:
        return " or ".join(map(type_text, inner))
    return "none" if kind is type(None) else getattr(kind, "__name__", str(kind))


def value_text(value: Any) -> str:
    """A default as it is typed in a selector: members of a list joined with ``+``."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


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


def better(direction: str) -> str:
    """How to read a metric."""
    return "not ranked by" if direction == "none" else f"{direction} is better"


def seconds(limit: float | None) -> str:
    """A wall-clock limit, if any."""
    return f", at most {limit:g} s" if limit else ""
