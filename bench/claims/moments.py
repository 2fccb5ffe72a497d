"""Moment matching: eight steps beat its own one-step version and its many-step teacher."""

from __future__ import annotations

from dataclasses import dataclass

from bench.claims.parts import Finding, Rules, distance
from bench.claims.rows import Board, Wanted

MANY = 8


@dataclass(frozen=True)
class EightSteps:
    """Both comparisons for one variant: where the auxiliary network comes from."""

    variant: str
    methods: tuple[str, ...] = ("moment_matching",)

    @property
    def key(self) -> str:
        return f"moments-{self.variant}"

    def check(self, board: Board, rules: Rules) -> Finding:
        many, one = (Wanted("moment_matching", n, {"variant": self.variant}) for n in (MANY, 1))
        return Finding((distance(board, "beats", many, one), distance(board, "beats", many, None)))
