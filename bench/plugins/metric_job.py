"""A metric of a plugin on blocks of stored samples: here, or in a child that can cost nothing else."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import BenchError
from bench.evaluator import Evaluator
from bench.failures import failure_of
from bench.plugins.belief import shortened
from bench.plugins.metrics import Brought, MetricRegistry, batches_of, fed, real_side
from bench.plugins.supervise import Ending, free_bytes, supervise
from bench.plugins.words import python
from bench.record import Failure
from bench.stored import read_samples
from bench.suite import Suite

STAGE = "plugin metric"
START_SECONDS = 600.0  # for imports, the feature network and the reference
SILENCE_SECONDS = 600.0  # between two batches, or for the number at the end
MEMORY_SHARE = 0.8  # of what is free


class Block(BaseModel):
    """Samples of one repeat: their file, its digest, and the seed of the block."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    sha256: str
    seed: int


class MetricJob(BaseModel):
    """What a child is told.

    Attributes:
        plugin: path given with ``--plugin``, or None for an installed metric.
        closure_sha256: that the metric must have in the child too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: Suite
    plugin: Path | None
    name: str
    closure_sha256: str
    blocks: tuple[Block, ...]
    device: str
    threads: int
    memory_bytes: int

    def find(self) -> Brought:
        """The metric; raises BenchError if its source was changed since the parent read it."""
        found = MetricRegistry((self.plugin,) if self.plugin else ()).find(self.name)
        if found.closure_sha256 != self.closure_sha256:
            raise BenchError(f"metric {self.name}: its source was changed during the run; run again")
        return found


def job_of(
    metric: Brought, suite: Suite, device: str, blocks: Sequence[Block], memory_bytes: int | None
) -> MetricJob:
    """The job of a metric on blocks."""
    return MetricJob(
        suite=suite,
        plugin=metric.given,
        name=metric.cls.name,
        closure_sha256=metric.closure_sha256,
        blocks=tuple(blocks),
        device=device,
        threads=torch.get_num_threads(),
        memory_bytes=memory_bytes or int(MEMORY_SHARE * free_bytes()),
    )


def block_values(
    job: MetricJob, evaluator: Evaluator, metric: Brought, tick: Callable[[], Any]
) -> Iterator[float | Failure]:
    """The number of every block, or why it has none; whatever a metric raises is such a reason."""
    for block in job.blocks:
        try:
            yield block_value(block, evaluator, metric, tick)
        except (Exception, SystemExit) as error:
            yield failure_of(STAGE, error, job.suite)[1]


def block_value(block: Block, evaluator: Evaluator, metric: Brought, tick: Callable[[], Any]) -> float:
    """The number of one block; raises AssetError for other samples than the record's."""
    samples, needs = read_samples(block.path, block.sha256), metric.cls.needs
    real = real_side(needs, evaluator, len(samples), block.seed)
    return fed(metric.cls, real, block.seed, batches_of(needs, evaluator, samples, block.seed), tick)


class Claims:
    """What a child reports, as far as it can be right, and whether it has been quiet too long."""

    def __init__(self, count: int) -> None:
        self.count, self.found = count, list[float | Failure]()
        self.heard, self.patience = time.monotonic(), START_SECONDS

    def report(self, line: bytes) -> None:
        """Take in one line; anything else than the next block's number is a sign of life at most."""
        try:
            told = json.loads(line)
            if not isinstance(told, dict):
                return
            self.heard, self.patience = time.monotonic(), SILENCE_SECONDS
            if told.get("block") != len(self.found) or len(self.found) == self.count:
                return
            value = told.get("value")
            if isinstance(value, float) and math.isfinite(value):
                self.found.append(value)
            elif "failure" in told:
                self.found.append(shortened(Failure.model_validate(told["failure"])))
        except (ValueError, ValidationError, RecursionError):
            return

    def silent(self, now: float) -> bool:
        """Whether patience is at its end."""
        return now - self.heard > self.patience


def values_apart(job: MetricJob) -> list[float | Failure]:
    """The number of every block from a child process; those after its death are failures too."""
    claims = Claims(len(job.blocks))
    with tempfile.TemporaryDirectory(prefix="bench-metric-") as folder:
        file, output = Path(folder) / "job.json", Path(folder) / "output.txt"
        file.write_text(job.model_dump_json(), encoding="utf-8")
        ending = supervise(
            python("bench.plugins.metric_child", str(file)),
            output=output,
            on_report=claims.report,
            silent=claims.silent,
            memory_bytes=job.memory_bytes,
        )
        printed = output.read_text(encoding="utf-8", errors="replace")[-2000:]
    last = "".join(c for c in printed if c.isprintable() or c == "\n")
    failure = Failure(stage=STAGE, **ended(ending, job), traceback=last)
    return [*claims.found, *[failure] * (len(job.blocks) - len(claims.found))]


def ended(ending: Ending, job: MetricJob) -> dict[str, str]:
    """Kind and message of a child that left blocks without a number."""
    kinds = {
        "silent": ("hung", f"gave no sign of life for {SILENCE_SECONDS:g} s; its process was killed"),
        "memory": ("out of memory", f"took more than {job.memory_bytes / 2**20:.0f} MiB and was killed"),
        "signal": ("killed", f"its process died of signal {ending.code}"),
        "exit": ("exit", f"its process left with status {ending.code} before its last block"),
    }
    kind, message = kinds[ending.why]
    return {"kind": kind, "message": message}


def values_here(job: MetricJob, evaluator: Evaluator, metric: Brought) -> list[float | Failure]:
    """The same in this process, for a debugger."""
    return list(block_values(job, evaluator, metric, lambda: None))
