"""What an iteration holds at its peak, beside the published loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from official import official
from stepping import ADM, IMAGENET64, case, missing
from timing import Beside, Held

from bench.latency import peak_bytes

PART = "Peak memory of an iteration"
LOOP = "the published loop's iteration"
PLACES = [
    ("digits", "sid"),
    *((size, method) for size in (ADM, IMAGENET64) for method in ("sid", "dmd2[ratio=2]")),
]


def held(call: Callable[[], Any], device: Any) -> Callable[[], Held]:
    """The bytes of a call instead of its seconds."""
    return lambda: Held(peak_bytes(call, device))


@pytest.mark.parametrize(("where", "method"), PLACES)
def test_memory(beside: Beside, where: str, method: str, tmp_path: Path) -> None:
    name, aims = method.split("[")[0], {LOOP: 1.0}
    if missing(where):
        beside.absent(PART, f"{name} on {where}", aims)
        return
    made = case(where, method, tmp_path)
    theirs, device = official(where, name, made), made.context.device
    beside(
        PART,
        f"{name} on {where}, batch {made.context.batch_size}",
        held(made.iterate, device),
        {LOOP: theirs and held(theirs, device)},
        aims=aims,
        rounds=1,
    )
