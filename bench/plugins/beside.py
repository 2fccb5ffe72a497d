"""Metrics of plugins, measured on finished cells from their stored samples and written into their records.

Nothing that a metric does reaches the training, the samples or the protocol's own scores: these stand in the
record before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.errors import AssetError
from bench.failures import failure_of
from bench.plugins.metric_job import STAGE, Block, job_of, values_apart, values_here
from bench.plugins.metrics import Brought, lacking
from bench.record import Failure, MetricValue, PluginMetric, Record, read_record, write_record
from bench.stages import Bench, metric_value
from bench.store import explain_disk, locked
from bench.stored import StoredCell


@dataclass(frozen=True)
class Beside:
    """Measures metrics of plugins beside the protocol's own.

    Attributes:
        isolate: in a process of their own, one for each metric, which can cost nothing but their values.
        memory_bytes: that this process may take; None: most of what is free.
    """

    bench: Bench
    metrics: Sequence[Brought]
    isolate: bool = True
    memory_bytes: int | None = None

    def add(self, records: Sequence[Record], say: Callable[[str], None]) -> list[Record]:
        """Records with the metrics that they lack; those that have them from the same source are left alone.

        Args:
            say: takes notes on metrics that the suite cannot feed, or that failed.
        """
        updated = list(records)
        for metric in self.metrics:
            if why := lacking(metric.cls.needs, self.bench.lab.evaluator):
                say(f"{metric.cls.name}: left out: {why}")
                continue
            todo = [i for i, record in enumerate(updated) if record.rows and not has(record, metric)]
            folders = [self.folder(updated[i]) for i in todo]
            for i, folder, found in zip(todo, folders, self.measure(metric, folders), strict=True):
                updated[i] = written(folder, metric.cls.name, found)
                if found.failure:
                    failure = found.failure
                    say(f"{metric.cls.name}: failed on {updated[i].label}: {failure.kind}: {failure.message}")
        return updated

    def failed(self, records: Sequence[Record]) -> bool:
        """Whether one of the metrics has no values on one of the records."""
        names = {metric.cls.name for metric in self.metrics}
        return any(m.failure for r in records for name, m in r.plugin_metrics.items() if name in names)

    def folder(self, record: Record) -> Path:
        """Folder of a finished cell."""
        return self.bench.store.root / self.bench.lab.suite.id / record.cell

    def measure(self, metric: Brought, folders: Sequence[Path]) -> Iterator[PluginMetric]:
        """What each cell's record is to say of a metric."""
        suite, device = self.bench.lab.suite, str(self.bench.lab.device)
        places, blocks = list[tuple[int, int]](), list[Block]()  # cell and step count of every block
        broken: dict[int, Failure] = {}
        for number, folder in enumerate(folders):
            try:
                own = list(blocks_of(StoredCell.open(folder, suite)))
            except AssetError as error:  # samples were deleted since
                broken[number] = failure_of(STAGE, error, suite)[1]
                continue
            places += [(number, steps) for steps, _ in own]
            blocks += [block for _, block in own]
        job = job_of(metric, suite, device, blocks, self.memory_bytes)
        values = (
            []
            if not blocks
            else values_apart(job)
            if self.isolate
            else values_here(job, self.bench.lab.evaluator, metric)
        )
        found = list(zip(places, values, strict=True))
        for number in range(len(folders)):
            mine = [(steps, value) for (cell, steps), value in found if cell == number]
            failures = [value for _, value in mine if isinstance(value, Failure)]
            failure = broken.get(number) or (failures[0] if failures else None)
            yield metric.statement({} if failure else rows_of(mine), failure)


def blocks_of(cell: StoredCell) -> Iterator[tuple[int, Block]]:
    """Every block of samples of a cell, with its step count."""
    for row in cell.record.rows:
        for (path, sha256), seed in zip(cell.block_files(row), cell.seeds(row), strict=True):
            yield row.steps, Block(path=path.resolve(), sha256=sha256, seed=seed)


def rows_of(found: Sequence[tuple[int, float | Failure]]) -> dict[int, MetricValue]:
    """Values by step count, whose blocks follow each other."""
    return {
        steps: metric_value([value for _, value in group if isinstance(value, float)])
        for steps, group in groupby(found, key=lambda pair: pair[0])
    }


def has(record: Record, metric: Brought) -> bool:
    """Whether a record has the values of a metric, from the same source."""
    known = record.plugin_metrics.get(metric.cls.name)
    return known is not None and not known.failure and known.closure_sha256 == metric.closure_sha256


def written(folder: Path, name: str, found: PluginMetric) -> Record:
    """The record of a cell with a metric, as it stands on disk now."""
    path = folder / "record.json"
    with locked(folder), explain_disk(folder):
        record = read_record(path)
        record = record.model_copy(update={"plugin_metrics": {**record.plugin_metrics, name: found}})
        write_record(record, path)
    return record
