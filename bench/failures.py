"""From an exception to what a record says of it."""

from __future__ import annotations

import traceback

import torch

from bench.budget import StepTimeout
from bench.errors import BenchError
from bench.record import Failure, Status
from bench.suite import Suite
from bench.training import Diverged

STATUS_OF: dict[type[BaseException], Status] = {Diverged: "diverged", StepTimeout: "timeout"}
SMALLER = "a smaller batch (the preset's while training, else the protocol's, in your own suite file)"
MESSAGE, TAIL, SAID = 2000, 4000, 200  # characters kept
ALLOCATORS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")  # torch's, on the CPU


def failure_of(stage: str, error: BaseException, suite: Suite) -> tuple[Status, Failure]:
    """Status and failure of a cell of a suite, whose stage raised."""
    tail = "".join(traceback.format_exception(error)[-6:])[-TAIL:]
    kind = "out of memory" if is_memory(error) else type(error).__name__
    message = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
    if is_memory(error):
        said = (str(error).splitlines() or [type(error).__name__])[0][:SAID]
        message = f"memory ran out ({said}); it takes less with {less_memory(suite)}"
    return STATUS_OF.get(type(error), "failed"), Failure(
        stage=stage, kind=kind, message=message[:MESSAGE], traceback=tail
    )


def less_memory(suite: Suite) -> str:
    """What makes a cell of a suite take less; only a suite with [model] has a precision to lower."""
    if suite.model is None:
        return f"--checkpointing, or with {SMALLER}; see docs/scale.md"
    lower = "on a GPU with a lower precision under [model]"
    return f"--checkpointing, with {SMALLER}, or {lower}; see docs/scale.md"


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ALLOCATORS)
