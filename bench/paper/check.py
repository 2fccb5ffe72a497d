"""The rules of a cited number: the row exists, the rounding is right, tables and superlatives are honest.

- **row**: an id without such a row, or whose digest is that of other records; a key that the row has not.
- **rounding**: a typed number that is not the row's, rounded to its decimals.
- **protocol**: rows of one suite under several protocols or versions in one table, or compared.
- **tie**: a superlative beside a row that is not separable from another of its section, or not its first; a
  comparison of two rows that are not separable.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bench.errors import UsageError
from bench.paper.source import Citation, citations
from bench.report.rows import Found, Rows
from bench.report.statistics import Estimate, clearly_better

BEST = re.compile(
    r"\b(best|state[- ]of[- ]the[- ]art|SOTA|lowest|highest|strongest|superior|unmatched|surpass\w*|"
    r"outperform\w*|beats?|wins?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Problem:
    """What is wrong at a line."""

    line: int
    rule: str
    text: str


@dataclass(frozen=True)
class Cited:
    """A citation and the row that it names."""

    at: Citation
    row: Found


def problems(text: str, rows: Rows) -> tuple[list[Problem], int]:
    """Problems of a manuscript in the order of its lines, and how many numbers it cites."""
    found: list[Problem] = []
    known: list[Cited] = []
    cited = citations(text)
    for one in cited:
        try:
            known.append(Cited(one, rows.find(one.row)))
        except UsageError as error:
            found.append(Problem(one.line, "row", str(error)))
    for each in known:
        found += _value(each)
    found += [*_mixed(known), *_superlatives(known)]
    return sorted(dict.fromkeys(found), key=lambda one: (one.line, one.rule)), len(cited)


def _value(cited: Cited) -> Iterator[Problem]:
    at = cited.at
    value = cited.row.value(at.key.removesuffix("/pm"))
    if value is None:
        keys = ", ".join(cited.row.keys)
        yield Problem(at.line, "row", f"{at.row} has no {at.key!r}; it has {keys}")
    elif at.typed is not None and not any(rounds_to(value, number) for number in at.typed):
        near = min(at.typed, key=lambda number: abs(float(_typed(number)) - value), default="no number")
        right = f"{value:.{_decimals(near) if at.typed else 2}f}"
        text = f"{near} is not {at.key} of {at.row}: expected {right} ({value:.6g})"
        yield Problem(at.line, "rounding", text)


def rounds_to(value: float, number: str) -> bool:
    """Whether a typed number, or per cent, is the value rounded to its decimals; ties may go either way."""
    exact = Decimal(repr(value)) * (100 if number.endswith("%") else 1)
    return abs(exact - _typed(number)) <= Decimal(5).scaleb(-_decimals(number) - 1)


def _typed(number: str) -> Decimal:
    return Decimal(number.rstrip("\\% \t\n").replace("−", "-"))


def _decimals(number: str) -> int:
    return max(0, -int(_typed(number).as_tuple().exponent))


def _mixed(known: Sequence[Cited]) -> Iterator[Problem]:
    """Rows of one suite in one table share version and protocol."""
    groups: dict[tuple[int, str], list[Cited]] = defaultdict(list)
    for one in known:
        if one.at.table is not None:
            groups[one.at.table, one.row.table.suite].append(one)
    for (_, suite), members in groups.items():
        first = members[0]
        for one in members[1:]:
            if _frame(one.row) != _frame(first.row):
                text = f"{one.at.row} is of {_frame(one.row)}, {first.at.row} of {_frame(first.row)}"
                yield Problem(one.at.line, "protocol", f"one table mixes rows of {suite}: {text}")


def _frame(row: Found) -> str:
    return f"{row.table.suite}@{row.table.version} by {row.table.protocol}"


def _superlatives(known: Sequence[Cited]) -> Iterator[Problem]:
    """What a sentence with a superlative says of the rows that it cites."""
    sentences: dict[str, list[Cited]] = defaultdict(list)
    for one in known:
        sentences[one.at.sentence].append(one)
    for sentence, members in sentences.items():
        word = BEST.search(sentence)
        if word is None:
            continue
        different = {one.row.line.id: one for one in members}
        if len(different) == 1:
            yield from _alone(members[0], word[0])
        else:
            yield from _among(list(different.values()), word[0])


def _alone(cited: Cited, word: str) -> Iterator[Problem]:
    """A superlative about one row: it must be separable from all of its section, and the first."""
    at, row = cited.at, cited.row
    line, key = row.line, at.key.removesuffix("/pm")
    better = row.better(key)
    ours = line.metrics.get(key)
    if ours is None or better == "none" or row.section is None:
        return
    others = [
        (one.label, one.metrics[key])
        for one in row.section.lines
        if one.id != line.id and one.rank is not None and key in one.metrics
    ]
    ahead = [label for label, theirs in others if clearly_better(theirs, ours, better)]
    level = [label for label, theirs in others if not _apart(theirs, ours, better)]
    if ahead:
        yield Problem(at.line, "tie", f"{word!r} beside {at.row}: clearly better in {key}: {_few(ahead)}")
    elif level:
        yield Problem(at.line, "tie", f"{word!r} beside {at.row}: not separable in {key} from {_few(level)}")


def _among(members: Sequence[Cited], word: str) -> Iterator[Problem]:
    """A comparison: rows of one suite and key must be separable from each other."""
    for i, a in enumerate(members):
        for b in members[i + 1 :]:
            key = a.at.key.removesuffix("/pm")
            if a.row.table.suite != b.row.table.suite or b.at.key.removesuffix("/pm") != key:
                continue
            if _frame(a.row) != _frame(b.row):
                text = f"{word!r} compares {_frame(a.row)} with {_frame(b.row)}"
                yield Problem(b.at.line, "protocol", text)
                continue
            x, y, better = a.row.line.metrics.get(key), b.row.line.metrics.get(key), a.row.better(key)
            if x and y and better != "none" and not _apart(x, y, better):
                text = f"{word!r} compares {a.at.row} with {b.at.row}, which are not separable in {key}"
                yield Problem(b.at.line, "tie", text)


def _apart(a: Estimate, b: Estimate, better: str) -> bool:
    return clearly_better(a, b, better) or clearly_better(b, a, better)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
