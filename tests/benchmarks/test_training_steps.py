"""A training step beside its network calls alone, and the runner's iteration beside the published loops."""

from __future__ import annotations

from pathlib import Path

import pytest
from official import official
from prediction_table import PLAN
from stepping import ADM, Case, case, predicted
from timing import Beside

ALL = ("sid", "progressive", "dmd[pair_steps=2,pairs=64]", "dmd2", "lcm", "moment_matching", "ddil[base=lcm]")
LARGER = ("sid", "dmd2[ratio=2]")
PLACES = [
    *((where, method) for where in ("gmm2d", "digits") for method in ALL),
    *((ADM, method) for method in LARGER),
]
LOOPS = [("gmm2d", "sid"), ("digits", "sid"), *((ADM, method) for method in LARGER)]


def named(where: str, method: str, made: Case) -> str:
    """The line of a case."""
    steps = "" if made.cycle == 1 else f", {made.cycle} iterations"
    return f"{method.split('[')[0]} on {where}, batch {made.context.batch_size}{steps}"


@pytest.mark.parametrize(("where", "method"), PLACES)
def test_step(beside: Beside, where: str, method: str, tmp_path: Path) -> None:
    made = case(where, method, tmp_path).recorded()
    beside(
        "A training step",
        named(where, method, made),
        made.step,
        {"its forwards and backwards alone": made.tape.again, PLAN: predicted(where, made)},
        aims={"its forwards and backwards alone": 1.05},
        rounds=3,
    )


@pytest.mark.parametrize(("where", "method"), LOOPS)
def test_iteration(beside: Beside, where: str, method: str, tmp_path: Path) -> None:
    """What a training spends on an iteration: the step, the average, the accounts."""
    made, name = case(where, method, tmp_path), method.split("[")[0]
    references = {"the step alone": made.step}
    aims = {}
    if where != "gmm2d":  # its network is nobody's
        loop = "the published loop's iteration"
        references[loop], aims[loop] = official(where, name, made), round(1 / 1.3, 2)
    beside(
        "An iteration of the runner",
        named(where, method, made),
        made.iterate,
        references,
        aims=aims,
        rounds=3,
    )


@pytest.mark.parametrize(("method", "batch"), [("sid", 512), ("dmd2", 256)])
def test_the_tape_holds_every_call_that_the_meter_counts(method: str, batch: int, tmp_path: Path) -> None:
    made = case("gmm2d", method, tmp_path)
    meter = made.context.meter
    counted = [sum(table.values()) for table in (meter.forwards, meter.backwards)]
    made.recorded()
    forwards, backwards = (
        sum(table.values()) - before
        for table, before in zip((meter.forwards, meter.backwards), counted, strict=True)
    )
    calls = made.tape.calls
    assert sum(len(call.args[0]) for call in calls) == forwards >= 4 * batch
    assert sum(len(call.args[0]) for call in calls if call.gradient is not None) == backwards >= 2 * batch
    flags = [p.requires_grad for net in made.context.networks.values() for p in net.plain.parameters()]
    assert made.tape.again() > 0
    assert flags == [
        p.requires_grad for net in made.context.networks.values() for p in net.plain.parameters()
    ]
