"""The first level: a record against itself and against the suite it names. Nothing is run.

It finds mistakes and careless edits; who recomputes every sum of an invented record passes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import ValidationError

from bench.errors import BenchError
from bench.methods import MethodRegistry
from bench.parts import Part
from bench.record import Latency, MetricValue, Record, Row
from bench.stages import AROUND
from bench.suite import Suite
from bench.verify.cells import cell_of, stated_id
from metrics.statistics import summarise

CLOSE = 1e-9  # relative, of sums and statistics computed again
SHARES = ("within", "accuracy", "recall", "precision", "copies")  # metrics that lie in [0, 1]


class Problem(Part):
    """One thing in a record that is not so."""

    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        """One clause for a message."""
        return f"key {self.key!r}: found {self.found}, expected {self.expected}"


def near(found: float, expected: float) -> bool:
    """Equal up to rounding."""
    return math.isclose(found, expected, rel_tol=CLOSE, abs_tol=1e-12)


def differs(key: str, found: object, expected: object) -> Iterator[Problem]:
    """A problem, if two values are not the same."""
    same = (
        near(found, expected)
        if isinstance(found, float) and isinstance(expected, float)
        else found == expected
    )
    if not same:
        yield Problem(key=key, found=repr(found)[:200], expected=repr(expected)[:200])


def problems_of(record: Record, suite: Suite, registry: MethodRegistry) -> list[Problem]:
    """Everything in a record that contradicts it or its suite; empty if nothing does.

    A record of another version of the suite is held to what does not depend on the version.
    """
    found = [*identity_problems(record, suite), *sum_problems(record, suite)]
    if record.status in ("ok", "truncated") and not record.rows:
        found.append(Problem(key="rows", found="none", expected=f"some, since the status is {record.status}"))
    steps = [row.steps for row in record.rows]
    found += differs("rows: step counts", steps, sorted(set(steps)))
    found += plugin_problems(record, suite)
    if record.suite_version == suite.version and record.kind != "external":
        found += cell_problems(record, suite, registry)
    return found


def sum_problems(record: Record, suite: Suite) -> Iterator[Problem]:
    """Costs, counts and statistics that do not add up; a claim of a plugin's process is held to them too."""
    yield from cost_problems(record, suite)
    for number, row in enumerate(record.rows):
        yield from row_problems(f"rows.{number}", row, record, suite)
    yield from curve_problems(record)


def identity_problems(record: Record, suite: Suite) -> Iterator[Problem]:
    """Suite, protocol, seeds and label."""
    yield from differs("suite", record.suite, suite.name)
    if record.suite_version == suite.version:
        if record.protocol == suite.protocol.id:
            yield from differs(
                "provenance.seeds.sample", record.provenance.seeds.get("sample"), suite.protocol.seed
            )
        if record.budget not in (*suite.budgets, "none"):
            yield Problem(
                key="budget", found=repr(record.budget), expected=f"one of {', '.join(suite.budgets)}"
            )
    if record.kind == "student":
        yield from differs("provenance.seeds.train", record.provenance.seeds.get("train"), record.seed)
    if (record.failure is None) == (record.status not in ("ok", "truncated")):
        yield Problem(
            key="failure", found=repr(record.failure)[:80], expected=f"what goes with {record.status}"
        )


def cost_problems(record: Record, suite: Suite) -> Iterator[Problem]:
    """What a training spent adds up, and is the budget's."""
    cost = record.cost
    if (cost is not None) != (record.kind == "student" and bool(record.rows)):
        yield Problem(
            key="cost", found="some" if cost else "none", expected=f"what goes with a {record.kind}"
        )
    if cost is None:
        return
    if record.suite_version == suite.version and record.budget in suite.budgets:
        yield from differs("cost.budget", cost.budget, float(suite.budgets[record.budget].work))
    yield from differs("cost.work", cost.work, float(sum(cost.units_by_role.values())))
    yield from differs("cost.overshoot", cost.overshoot, float(max(0.0, cost.work - cost.budget)))
    if record.status == "ok" and cost.work < cost.budget:
        yield Problem(
            key="cost.work", found=str(cost.work), expected=f"at least {cost.budget}, as status ok says"
        )
    batch = (record.preset or {}).get("batch") or (cost.images / cost.iterations if cost.iterations else 0)
    yield from differs("cost.images", cost.images, round(batch) * cost.iterations)
    if not cost.forwards_by_role.get("student") or min(cost.units_by_role.values(), default=0) < 0:
        yield Problem(
            key="cost.forwards_by_role", found=str(cost.forwards_by_role), expected="a trained student"
        )


def row_problems(where: str, row: Row, record: Record, suite: Suite) -> Iterator[Problem]:
    """Counts, statistics and times of a row."""
    counted = sum(calls for role, calls in row.nfe_by_role.items() if role not in AROUND)
    if record.kind != "external":
        yield from differs(f"{where}.nfe", float(row.nfe), float(counted))
        for role, calls in row.nfe_by_role.items():
            yield from differs(f"{where}.nfe_by_role.{role}", float(calls), float(round(calls)))
    if min(row.nfe_by_role.values(), default=0) < 0 or (record.kind == "student" and row.nfe < 1):
        yield Problem(key=f"{where}.nfe_by_role", found=str(row.nfe_by_role), expected="calls")
    spent = record.cost.work if record.cost else 0.0
    if not 0 <= row.work <= spent * (1 + CLOSE):
        yield Problem(key=f"{where}.work", found=str(row.work), expected=f"0 to {spent}, the training's")
    for key, value in row.metrics.items():
        yield from value_problems(f"{where}.metrics.{key}", key, value)
    if (
        record.suite_version == suite.version
        and record.protocol == suite.protocol.id
        and record.kind != "external"
    ):
        for key, value in row.metrics.items():
            yield from differs(
                f"{where}.metrics.{key}.values: how many", len(value.values), suite.protocol.repeats
            )
    if row.latency is not None:
        yield from latency_problems(f"{where}.latency", row.latency)


def value_problems(where: str, key: str, value: MetricValue) -> Iterator[Problem]:
    """Mean, spread and interval are those of the values, and these are possible."""
    yield from statistic_problems(where, value)
    high = 1.0 if key in SHARES else math.inf
    if not all(-1e-6 <= one <= high + 1e-9 for one in value.values):
        yield Problem(key=f"{where}.values", found=str(value.values), expected=f"numbers in [0, {high:g}]")


def statistic_problems(where: str, value: MetricValue) -> Iterator[Problem]:
    """Mean, spread and interval are those of the values."""
    if not value.values or not all(map(math.isfinite, value.values)):
        yield Problem(key=f"{where}.values", found=str(value.values), expected="finite numbers")
        return
    summary = summarise(value.values)
    yield from differs(f"{where}.mean", value.mean, summary.mean)
    yield from differs(f"{where}.std", value.std, summary.std)
    if (value.ci95 is None) != (summary.ci95 is None):
        yield Problem(key=f"{where}.ci95", found=str(value.ci95), expected=str(summary.ci95))
    for found, expected in zip(value.ci95 or (), summary.ci95 or (), strict=False):
        yield from differs(f"{where}.ci95", found, expected)


def plugin_problems(record: Record, suite: Suite) -> Iterator[Problem]:
    """Metrics of plugins have names of their own, and a value for every repeat of every row, or a failure."""
    repeats = {
        row.steps: max((len(v.values) for v in row.metrics.values()), default=0) for row in record.rows
    }
    for name, one in record.plugin_metrics.items():
        where = f"plugin_metrics.{name}"
        if any(name == column.key for column in suite.metrics):
            yield Problem(key=where, found=repr(name), expected=f"no key of a metric of {suite.id}")
        yield from differs(f"{where}.rows", sorted(one.rows), [] if one.failure else sorted(repeats))
        for steps, value in one.rows.items():
            yield from statistic_problems(f"{where}.rows.{steps}", value)
            yield from differs(
                f"{where}.rows.{steps}.values: how many", len(value.values), repeats.get(steps, 0)
            )


def latency_problems(where: str, latency: Latency) -> Iterator[Problem]:
    """Ratio and throughput follow from the times."""
    yield from differs(f"{where}.ratio", latency.ratio, latency.median_ms / latency.teacher_forward_ms)
    if latency.images_per_s is not None:
        yield from differs(
            f"{where}.images_per_s", latency.images_per_s, 1000 * latency.batch / latency.median_ms
        )
    if not 0 < latency.median_ms <= latency.p90_ms * (1 + CLOSE):
        yield Problem(
            key=f"{where}.median_ms", found=str(latency.median_ms), expected=f"0 to p90, {latency.p90_ms}"
        )


def curve_problems(record: Record) -> Iterator[Problem]:
    """Points of the curve lie inside the training, in its order."""
    works: dict[int, list[float]] = {}
    for point in record.curve:
        works.setdefault(point.steps, []).append(point.work)
    for steps, found in works.items():
        yield from differs(f"curve: work at {steps} steps", found, sorted(found))
        if record.cost and found[-1] > record.cost.work * (1 + CLOSE):
            yield Problem(key="curve: work", found=str(found[-1]), expected=f"at most {record.cost.work}")


def cell_problems(record: Record, suite: Suite, registry: MethodRegistry) -> Iterator[Problem]:
    """The specification in the record has the id that the record gives it."""
    older = record.kind == "student" and record.preset is None  # its batch and average are not known
    if older or not record.rows:
        return
    try:
        expected = stated_id(cell_of(record, suite, registry), record)
    except (BenchError, ValidationError, ValueError) as error:
        yield Problem(key="label", found=repr(record.label), expected=f"a cell of {suite.id} ({error})"[:300])
        return
    yield from differs("cell", record.cell, expected)
