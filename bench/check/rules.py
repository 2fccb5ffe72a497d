"""The rules that ``bench check`` judges. An id never changes its meaning; docs/rules.md is made from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.check import judges


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: DB and a number; title: what is demanded; why: what goes wrong otherwise.
        judge: what is wrong in the evidence on a method (or metric), or None.
        after: rules without which this one cannot be judged; it is skipped when one of them fails.
    """

    id: str
    title: str
    why: str
    judge: Callable[[Any], str | None]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What came of a rule: passed, failed (with what is wrong) or skipped (with the rules it waits for)."""

    rule: Rule
    state: str
    note: str = ""


RULES = (
    Rule(
        "DB101",
        "The method says what it is",
        "Tables, records and `bench info` are made from `name`, `paper`, `summary`, `Config` and "
        "`served_nfe`; an option without a default or a description can be neither run nor understood by "
        "others.",
        judges.declares,
    ),
    Rule(
        "DB102",
        "It trains, and what it logs is finite",
        "A loss that is not finite ends the cell as `diverged`, with all of its budget lost.",
        judges.trains,
        ("DB109",),
    ),
    Rule(
        "DB103",
        "Its students serve the steps it names, with samples of the right shape",
        "Samples are float32 `[B, *shape]` in the coordinates of the teacher; anything else is scored as "
        "garbage, or not at all.",
        judges.serves,
        ("DB102",),
    ),
    Rule(
        "DB104",
        "The same seed gives the same bytes",
        "A row that cannot be made again proves nothing, and an interval over seeds means nothing.",
        judges.repeats,
        ("DB102", "DB108"),
    ),
    Rule(
        "DB105",
        "A resumed training ends like an undisturbed one",
        "Runs are killed and go on; state that the context did not hand out must be in `extra_state`.",
        judges.resumes,
        ("DB104",),
    ),
    Rule(
        "DB106",
        "A sample takes as many evaluations as steps were asked for",
        "Rows are ranked at equal evaluations, and those are counted while sampling. A network called "
        "past its shell shows in the FLOPs that torch counts.",
        judges.counts_evaluations,
        ("DB103",),
    ),
    Rule(
        "DB107",
        "Every step is paid from the budget, and is small beside it",
        "The budget is looked at between steps: one that spends nothing never ends, one that spends "
        "thousands of evaluations per sample cannot be stopped in time, and other phases than training "
        "are not paid for.",
        judges.obeys_budget,
        ("DB102",),
    ),
    Rule(
        "DB108",
        "Random numbers come from named streams",
        "What a global generator gives depends on everything that drew from it before; `context.draws()` "
        "and `noise.at(step)` depend on seed, stream and index only.",
        judges.draws_from_streams,
        ("DB102",),
    ),
    Rule(
        "DB109",
        "It opens no socket and starts no program",
        "Whatever comes from elsewhere is not in the budget, not in the record, and not there tomorrow.",
        judges.stays_off_the_network,
    ),
    Rule(
        "DB110",
        "It sees the batches it is given, and no other data",
        "Held-out data and references decide the score; a method that reads them is trained on its test. "
        "It imports the contract and its helpers, no data set, teacher or metric, and opens no file.",
        judges.sees_only_batches,
    ),
    Rule(
        "DB111",
        "All of its training is charged",
        "Work is the currency of every comparison. The FLOPs that torch counts in a step may exceed the "
        "charged ones by 5 % (losses, small heads), not by an evaluation.",
        judges.is_charged,
        ("DB102", "DB107"),
    ),
    Rule(
        "DB112",
        "A sample does not depend on its batch",
        "Sample i is the same whatever the batch size and the number of devices; statistics over the "
        "batch would also let samples share information.",
        judges.ignores_the_batch,
        ("DB103",),
    ),
    Rule(
        "DB113",
        "It leaves torch's settings and the bench's functions as they are",
        "Default dtype, threads, grad mode and deterministic flags belong to the run; other cells live "
        "with them.",
        judges.leaves_torch_alone,
    ),
    Rule(
        "DB114",
        "Weights change by the context's optimisers only",
        "Only their state is saved and restored, and only they are seen by the anneal of learning rates "
        "and by readers. Averages and targets of one's own are networks in no optimiser, asked for with "
        "`trainable=False`.",
        judges.updates_by_optimizers,
        ("DB102",),
    ),
)


def judge(found: Any, rules: Sequence[Rule] = RULES) -> list[Verdict]:
    """All rules on one body of evidence, in order of their ids."""
    verdicts: dict[str, Verdict] = {}
    by_id = {rule.id: rule for rule in rules}

    def settle(rule: Rule) -> Verdict:
        if rule.id not in verdicts:
            broken = [i for i in rule.after if settle(by_id[i]).state != "passed"]
            note = None if broken else rule.judge(found)
            state = "skipped" if broken else "failed" if note else "passed"
            verdicts[rule.id] = Verdict(rule, state, f"after {', '.join(broken)}" if broken else note or "")
        return verdicts[rule.id]

    return [settle(rule) for rule in rules]


BY_ID = {rule.id: rule for rule in RULES}
