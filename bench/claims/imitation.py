"""DDIL: it lowers the covariate shift of a multi-step student without hurting the distance."""

from __future__ import annotations

from dataclasses import dataclass

from bench.claims.parts import Finding, Line, Rules, absent, compare, distance
from bench.claims.rows import Board, Wanted

SHIFT_DIGITS = 4


@dataclass(frozen=True)
class LowersShift:
    """Over one base method, at every step count of two or more that both have rows for."""

    base: str

    @property
    def key(self) -> str:
        return f"ddil-{self.base}"

    @property
    def methods(self) -> tuple[str, ...]:
        return (self.base, "ddil")

    def check(self, board: Board, rules: Rules) -> Finding:
        steps = [n for n in board.suite.nfe if n >= 2]
        pairs = [(Wanted("ddil", n, {"base": self.base}), Wanted(self.base, n)) for n in steps]
        common = [pair for pair in pairs if all(board.trainings(wanted) for wanted in pair)]
        if not common:
            lacking = [
                (rows[0].label.partition("@")[0] + " at 2 or more steps", None)
                for rows in zip(*pairs, strict=True)
                if not any(map(board.trainings, rows))
            ] or [("a common step count", None)]
            return Finding((absent(f"ddil[base={self.base}] against {self.base}", lacking),))
        lines = [line for pair in common for line in self.lines(board, rules, *pair)]
        return Finding(tuple(lines), self.floors(board, [base for _, base in common]))

    def lines(self, board: Board, rules: Rules, ours: Wanted, base: Wanted) -> tuple[Line, Line]:
        """The shift, and the distance."""
        a, b = board.shift_side(ours), board.shift_side(base)
        statement = f"{ours.label} has less shift than {base.label}"
        if a is None or b is None:
            shift = absent(statement, [(f"shift of {ours.label}", a), (f"shift of {base.label}", b)])
        else:
            shift = compare(statement, a, b, digits=SHIFT_DIGITS)
        return shift, distance(board, "is not worse than", ours, base, margin=rules.margin)

    def floors(self, board: Board, rows: list[Wanted]) -> tuple[str, ...]:
        """What two sets of forward states read, beside the shift of a base row."""
        if board.shift is None:
            return ()
        measured = {(row.cell, row.steps): row for row in board.shift.rows}
        found = []
        for wanted in rows:
            first = board.trainings(wanted)[0]
            row = measured.get((first[0].cell, first[1].steps))
            if row is not None:
                found.append(f"{sum(row.floor) / len(row.floor):.{SHIFT_DIGITS}f} at {wanted.steps} steps")
        return (f"Floor of the shift (forward states against others): {', '.join(found)}.",) if found else ()
