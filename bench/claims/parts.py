"""What a claim comes to on a suite: lines with numbers and verdicts, and the words around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.claims.rows import Board, Wanted
from bench.claims.verdicts import Difference, Side, Verdict, all_of, difference, judge
from bench.report.columns import DAGGER


@dataclass(frozen=True)
class Rules:
    """Numbers that verdicts hang on, fixed for all claims (``bench/data/claims.toml``).

    Attributes:
        margin: how much worse than the other "reaches" and "not worse" allow, as a share of the other.
        r2: share of the variance of the log excess that a line has to explain to be called near-linear.
    """

    margin: float
    r2: float


@dataclass(frozen=True)
class Line:
    """One measured part of a claim, as a row of its table.

    Attributes:
        statement: what is compared; ours, against, found: as text; seeds, repeats: of both sides.
        unvaried: only the sampling seed was varied.
        missing: rows that are needed and not there.
    """

    statement: str
    verdict: Verdict
    ours: str = ""
    against: str = ""
    found: str = ""
    seeds: str = ""
    repeats: str = ""
    unvaried: bool = False
    missing: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The verdict with its dagger."""
        return f"{self.verdict}{DAGGER if self.unvaried else ''}"


@dataclass(frozen=True)
class Finding:
    """A claim on one suite.

    Attributes:
        facts: further numbers that no verdict hangs on.
    """

    lines: tuple[Line, ...]
    facts: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Of all lines together."""
        return all_of([line.verdict for line in self.lines])

    @property
    def shown(self) -> str:
        """The verdict, with a dagger if one of the lines that were measured has one."""
        marked = any(line.unvaried for line in self.lines) and self.verdict != Verdict.MISSING
        return f"{self.verdict}{DAGGER if marked else ''}"


class Claim(Protocol):
    """What can be checked on a suite.

    Attributes:
        key: of its words in ``bench/data/claims.toml``; methods: whose untrained students are shown beside.
    """

    @property
    def key(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]: ...
    def check(self, board: Board, rules: Rules) -> Finding: ...


def compare(
    statement: str, ours: Side, theirs: Side, *, margin: float = 0.0, better: str = "lower", digits: int = 3
) -> Line:
    """A comparison of two measured sides; ``margin`` as a share of theirs."""
    found = difference(ours, theirs)
    return Line(
        statement,
        judge(found, margin * abs(theirs.estimate.mean), better),
        number(ours, digits),
        number(theirs, digits),
        interval(found, digits),
        f"{seeds(ours)} / {seeds(theirs)}",
        f"{ours.repeats} / {theirs.repeats}",
        ours.unvaried or theirs.unvaried,
    )


def distance(board: Board, words: str, ours: Wanted, theirs: Wanted | None, *, margin: float = 0.0) -> Line:
    """A comparison of the primary metric of two rows; against the teacher's best row if no other is named."""
    a, b = board.side(ours), board.teacher() if theirs is None else board.side(theirs)
    other = ("the teacher" if b is None else b.label) if theirs is None else theirs.label
    statement = f"{ours.label} {words} {other}"
    if a is None or b is None:
        return absent(statement, [(ours.label, a), (other, b)])
    digits = board.suite.column(board.suite.primary).digits
    return compare(statement, a, b, margin=margin, better=board.better, digits=digits)


def absent(statement: str, sides: Sequence[tuple[str, object]]) -> Line:
    """A line whose rows are not all there."""
    return Line(statement, Verdict.MISSING, missing=tuple(label for label, side in sides if side is None))


def number(side: Side, digits: int) -> str:
    """``mean ± half of the 95 % interval``."""
    found = side.estimate
    return f"{found.mean:.{digits}f}" + ("" if found.half is None else f" ± {found.half:.{digits}f}")


def interval(found: Difference, digits: int, sign: str = "+") -> str:
    """``mean [low, high]``; ``sign`` "" shows no plus."""
    numbers = [f"{value:{sign}.{digits}f}" for value in (found.mean, *(found.interval or ()))]
    return numbers[0] if found.interval is None else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


def seeds(side: Side) -> str:
    """Trainings of a side; a dash for what is not trained."""
    return str(side.seeds) if side.student else "-"


@dataclass(frozen=True)
class Beats:
    """Every row of ``ours`` beats every row of ``theirs`` in the primary metric."""

    key: str
    ours: tuple[Wanted, ...]
    theirs: tuple[Wanted, ...]
    methods: tuple[str, ...] = field(default=())

    def check(self, board: Board, rules: Rules) -> Finding:
        return Finding(tuple(distance(board, "beats", a, b) for a in self.ours for b in self.theirs))
