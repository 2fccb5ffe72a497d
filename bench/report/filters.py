"""``--filter 'nfe<=4'`` and ``--sort KEY``: views of a table: they choose and order lines, ranks stay."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import UsageError, unknown
from bench.record import Record
from bench.report.reported import listed_under
from bench.report.table import Line, Table
from bench.reported import Reported

PATTERN = re.compile(r"^\s*(?P<key>[\w@.-]+)\s*(?P<sign><=|>=|!=|==|=|<|>)\s*(?P<value>.*?)\s*$")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
NUMBERS = ("nfe", "steps", "work", "latency", "excess", "rank")
WORDS = ("method", "budget", "status", "kind")


@dataclass(frozen=True)
class Filter:
    """One condition; ``number`` is set for keys that hold numbers."""

    text: str
    key: str
    sign: str
    value: str
    number: float | None

    def holds(self, found: Any) -> bool:
        """Whether a value passes; a missing number never does."""
        if self.number is None:
            return SIGNS[self.sign](found, self.value)
        return found is not None and SIGNS[self.sign](found, self.number)


def parse_filter(text: str, metrics: Sequence[str]) -> Filter:
    """Parse ``key op value``.

    Args:
        metrics: further keys that hold numbers.

    Raises:
        UsageError: not of the form, an unknown key, or a value or comparison that the key does not have.
    """
    match = PATTERN.match(text)
    if match is None or not match["value"]:
        raise UsageError(
            f"--filter {text!r}: expected key, one of {' '.join(SIGNS)}, value; such as 'nfe<=4'"
        )
    key, sign, value = match["key"], match["sign"], match["value"]
    if key in WORDS:
        if sign not in ("=", "==", "!="):
            raise UsageError(f"--filter {text!r}: {key} holds words, so compare with = or !=, found {sign}")
        return Filter(text, key, sign, value, None)
    if key not in (*NUMBERS, "seed", *metrics):
        raise unknown("key", key, [*NUMBERS, *WORDS, "seed", *metrics], f"--filter {text!r}")
    try:
        return Filter(text, key, sign, value, float(value))
    except ValueError as error:
        raise UsageError(f"--filter {text!r}: {key} holds numbers, found {value!r}") from error


def choose_seeds(records: Sequence[Record], filters: Sequence[Filter]) -> list[Record]:
    """The records whose training seed passes; references have none and stay."""
    conditions = [f for f in filters if f.key == "seed"]
    return [r for r in records if r.kind != "student" or all(f.holds(r.seed) for f in conditions)]


def choose(tables: Sequence[Table], filters: Sequence[Filter]) -> list[Table]:
    """The lines that pass all filters, with their ranks; empty sections and tables are left out.

    A number of a paper has evaluations and a method; it passes no condition on anything else.

    Raises:
        UsageError: a word that no line has, with the nearest one.
    """
    conditions = [f for f in filters if f.key != "seed"]
    lines = [line for table in tables for section in table.sections for line in section.lines]
    papers = {name for table in tables for one in table.reported for name in (one.method, one.known) if name}
    for condition in (condition for condition in conditions if condition.number is None):
        known = _words(lines, condition.key) | (papers if condition.key == "method" else set())
        if condition.value not in known:
            raise unknown(condition.key, condition.value, known, f"--filter {condition.text!r}")
    kept = []
    for table in tables:
        sections = [
            replace(
                section, lines=tuple(li for li in section.lines if all(_passes(li, f) for f in conditions))
            )
            for section in table.sections
        ]
        full = tuple(section for section in sections if section.lines)
        numbers = tuple(one for one in table.reported if all(_reported_passes(one, f) for f in conditions))
        kept.append(replace(table, sections=full, reported=numbers))
    return [t for i, t in enumerate(kept) if t.sections or (listed_under(kept, i) and not _measured(kept, t))]


def _measured(tables: Sequence[Table], one: Table) -> bool:
    """Whether a table of the same suite has measured lines."""
    return any(table.suite == one.suite and table.sections for table in tables)


def sort(tables: Sequence[Table], key: str) -> list[Table]:
    """Order the lines of every section by a key; lines without it come last.

    Raises:
        UsageError: unknown key, with the nearest one.
    """
    metrics = {column.key: column.better for table in tables for column in table.columns}
    if key not in (*NUMBERS, "method", *metrics):
        raise unknown("key", key, [*NUMBERS, "method", *metrics], f"--sort {key}")
    sign = -1 if metrics.get(key) == "higher" else 1

    def place(line: Line) -> tuple[bool, Any]:
        value = line.label if key == "method" else _number(line, key)
        return (value is None, "") if value is None else (False, value if key == "method" else sign * value)

    return [
        replace(t, sections=tuple(replace(s, lines=tuple(sorted(s.lines, key=place))) for s in t.sections))
        for t in tables
    ]


def _number(line: Line, key: str) -> float | None:
    if key in NUMBERS:
        return getattr(line, key)
    return line.metrics[key].mean if key in line.metrics else None


def _words(lines: Sequence[Line], key: str) -> set[str]:
    names = {str(getattr(line, key)) for line in lines}
    return names | {line.label for line in lines} if key == "method" else names


def _passes(line: Line, condition: Filter) -> bool:
    if condition.number is not None:
        return condition.holds(_number(line, condition.key))
    if condition.key != "method":
        return condition.holds(getattr(line, condition.key))
    named = condition.value in (line.method, line.label)
    return named if condition.sign != "!=" else not named


def _reported_passes(number: Reported, condition: Filter) -> bool:
    if condition.key == "nfe":
        return condition.holds(number.nfe)
    if condition.key != "method":
        return False
    named = condition.value in (number.method, number.known)
    return named if condition.sign != "!=" else not named
