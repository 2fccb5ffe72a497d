"""DMD and DMD2: they beat PD and consistency distillation in one step; DMD2 needs no regression set."""

from __future__ import annotations

from dataclasses import dataclass

from bench.claims.parts import Beats, Finding, Line, Rules, distance
from bench.claims.rows import Board, Wanted
from bench.record import Record
from bench.report.text import compact

DMD, DMD2 = Wanted("dmd", 1), Wanted("dmd2", 1)
WITHOUT = Wanted("dmd", 1, {"lambda_reg": 0})  # DMD without its regression loss, if somebody trained it

BEST_IN_ONE_STEP = Beats(
    "matching",
    (DMD, DMD2),
    (Wanted("progressive", 1), Wanted("lcm", 1)),
    ("dmd", "dmd2", "progressive", "lcm"),
)


@dataclass(frozen=True)
class NeedsNoPairs:
    """DMD2 is no worse than DMD in one step, up to the margin, without the pairs that DMD pays for."""

    key: str = "no-pairs"
    methods: tuple[str, ...] = ("dmd", "dmd2")

    def check(self, board: Board, rules: Rules) -> Finding:
        line = distance(board, "is not worse than", DMD2, DMD, margin=rules.margin)
        facts = [pairs_text(record) for record, _ in board.trainings(DMD)[:1]]
        facts.append(
            ablation_text(distance(board, "beats", DMD, WITHOUT))
            if board.trainings(WITHOUT)
            else f"{WITHOUT.label} (DMD without its regression loss): not measured."
        )
        return Finding((line,), tuple(facts))


def pairs_text(record: Record) -> str:
    """What DMD spends on pairs before it trains: one unit per teacher evaluation."""
    config = record.config
    if "pairs" not in config or "pair_steps" not in config or record.cost is None:
        return "The record of DMD does not tell its work on pairs."
    spent = int(config["pairs"]) * (2 * int(config["pair_steps"]) - 1)
    share = spent / record.cost.work
    return (
        f"DMD made {config['pairs']:,} pairs of {2 * int(config['pair_steps']) - 1} teacher evaluations: "
        f"about {compact(spent)} of {compact(record.cost.work)} units ({share:.1%}); DMD2 made none."
    )


def ablation_text(line: Line) -> str:
    """DMD against itself without regression, in a sentence."""
    return f"{line.statement}: {line.ours} against {line.against}, difference {line.found}: {line.shown}."
