"""What a training may spend, and the watchdog that stops a hung step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import BenchError


class Budget(BaseModel):
    """What one training may spend; the first limit reached stops it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    work: float = Field(gt=0, description="units: forwards of the reference network on one sample")
    seconds: float | None = Field(
        None, gt=0, description="wall clock; a row stopped by it is 'truncated', unranked"
    )
    step_seconds: float = Field(120, gt=0, description="a single iteration longer than this is killed")


class StepTimeout(BenchError):
    """One iteration took longer than the budget allows."""


@contextmanager
def watchdog(seconds: float, iteration: int) -> Iterator[None]:
    """Raise StepTimeout inside the block once it has run for ``seconds`` (main thread, POSIX alarm).

    In another thread no alarm can be set: the step is judged when it returns.
    """
    if threading.current_thread() is not threading.main_thread():
        started = time.monotonic()
        yield
        if time.monotonic() - started > seconds:
            raise StepTimeout(f"iteration {iteration} ran longer than {seconds:g} s")
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        raise StepTimeout(f"iteration {iteration} ran longer than {seconds:g} s and was stopped")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
