"""Metrics of plugins in a record: what it states of them, and their numbers again from the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bench.errors import UsageError
from bench.lab import Lab
from bench.plugins.metric_job import Block, job_of, values_apart
from bench.plugins.metrics import MetricRegistry
from bench.record import Failure, PluginMetric, Record
from bench.store import file_digest


class MeasuredAgain:
    """The blocks of samples of a record, drawn again, and what its plugin metrics give on them.

    Args:
        folder: for the samples, which a process of each metric's own reads.
    """

    def __init__(self, record: Record, lab: Lab, registry: MetricRegistry, folder: Path) -> None:
        self.record, self.lab, self.registry, self.folder = record, lab, registry, folder
        self.blocks: dict[tuple[int, int], Block] = {}

    def keep(self, steps: int, number: int, seed: int, drawn: np.ndarray) -> None:
        """Remember the samples of a repeat, if there is a metric that needs them."""
        if self.record.plugin_metrics:
            path = self.folder / f"{steps}-{number}.safetensors"
            save_file({"samples": np.ascontiguousarray(drawn)}, path)
            self.blocks[steps, number] = Block(path=path, sha256=file_digest(path), seed=seed)

    def problems(self, close: float) -> Iterator[str]:
        """Every number that does not come out again, and every metric that cannot be measured here."""
        for name, stated in self.record.plugin_metrics.items():
            if not stated.failure:
                yield from self.metric_problems(name, stated, close)

    def metric_problems(self, name: str, stated: PluginMetric, close: float) -> Iterator[str]:
        """The same for one metric."""
        where = f"plugin_metrics.{name}"
        try:
            metric = self.registry.find(name)
        except UsageError:
            yield f"{where}: no plugin here brings this metric, so it was not measured; give it with --plugin"
            return
        job = job_of(metric, self.lab.suite, str(self.lab.device), list(self.blocks.values()), None)
        other = "" if metric.closure_sha256 == stated.closure_sha256 else "; its source here is another"
        for (steps, number), value in zip(self.blocks, values_apart(job), strict=True):
            if isinstance(value, Failure):
                yield f"{where}: failed here: {value.kind}: {value.message}{other}"
                return
            expected = stated.rows[steps].values[number]
            if not math.isclose(expected, value, rel_tol=close, abs_tol=close):
                found = f"repeat {number} is {expected:.6g}, measured again {value:.6g}"
                yield f"{where}: {steps} steps: {found}{other}"
