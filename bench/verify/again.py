"""The second and third level: samples drawn and scored again from the weights; the cell trained again."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from baselines.distiller import Generator
from bench.cell import Cell
from bench.lab import Lab
from bench.meter import Meter, forward_flops, metered
from bench.progress import PlainReporter
from bench.provenance import cpu_name
from bench.record import Record, Row
from bench.runner import Runner
from bench.sampling import draw_samples
from bench.stages import AROUND, Bench
from bench.store import Store, file_digest
from bench.training import Snapshot
from bench.verify.plugin_metrics import MeasuredAgain
from metrics.precision import tf32

SAME, ELSEWHERE = 1e-6, 0.02  # relative, of metrics on the record's own kind of machine and on another


def same_machine(record: Record, device: torch.device) -> bool:
    """Whether "same seed, same bytes" holds between a record and this process."""
    here = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return (record.provenance.device, record.provenance.threads) == (here, torch.get_num_threads())


class ScoredAgain:
    """A student from its weights, beside what its record states.

    Args:
        samples: sha256 of the samples of every block, by step count; none where only a record is known.
        brought: measures what plugins measured.
    """

    def __init__(
        self,
        record: Record,
        cell: Cell,
        lab: Lab,
        weights: Path,
        samples: dict[int, list[str]],
        brought: MeasuredAgain,
    ) -> None:
        assert cell.method is not None
        self.brought = brought
        self.record, self.cell, self.lab, self.weights, self.samples = record, cell, lab, weights, samples
        scaling = cell.method.cls.student_scaling(cell.config, lab.space)
        self.snapshot = Snapshot(weights, lab.entry.build, scaling, lab.device)
        self.close = SAME if same_machine(record, lab.device) else ELSEWHERE

    def problems(self) -> Iterator[str]:
        """Everything that the weights do not bear out, as clauses."""
        found = file_digest(self.weights)
        for number, row in enumerate(self.record.rows):
            where = f"rows.{number}"
            if row.student_sha256 != found:
                yield f"{where}: student_sha256 {row.student_sha256}, but these weights have {found}"
            if row.steps not in self.snapshot.students:
                yield f"{where}: no student in these weights serves {row.steps} steps"
                continue
            yield from self.row_problems(where, row)
        yield from self.brought.problems(self.close)

    def generator(self, meter: Meter) -> Generator:
        """The student's sampler in counting shells."""
        return self.lab.generator(self.cell, meter, metered(self.snapshot.students, meter))

    def row_problems(self, where: str, row: Row) -> Iterator[str]:
        """Evaluations, samples and scores of a row."""
        protocol, stated = self.cell.suite.protocol, self.samples.get(row.steps, [])
        flops = round(self.evaluations(row.steps))
        if flops != row.nfe:
            yield f"{where}: nfe {row.nfe}, but the FLOPs of one sample are those of {flops} evaluations"
        for number, seed in enumerate(protocol.blocks[: len(next(iter(row.metrics.values())).values)]):
            meter = Meter()
            with meter.during("sample"):
                drawn = self.draw(meter, row.steps, seed, protocol.samples)
            counted = meter.by_role("forwards", "sample")
            calls = round(sum(n for role, n in counted.items() if role not in AROUND) / protocol.samples)
            if calls != row.nfe:
                yield f"{where}: nfe {row.nfe}, counted {calls}"
            self.brought.keep(row.steps, number, seed, drawn)
            digest = hashlib.sha256(save({"samples": np.ascontiguousarray(drawn)})).hexdigest()
            if self.close == SAME and stated and digest != stated[number]:
                yield f"{where}: samples of repeat {number} have sha256 {digest}, stated {stated[number]}"
            scores = self.lab.evaluator.score(drawn, seed)
            for key, value in row.metrics.items():
                score = scores.get(key)
                if score is None or not math.isclose(
                    value.values[number], score, rel_tol=self.close, abs_tol=self.close
                ):
                    stated_value = f"{key} of repeat {number} is {value.values[number]:.6g}"
                    yield f"{where}: {stated_value}, scored again {score}"

    def draw(self, meter: Meter, steps: int, seed: int, count: int) -> np.ndarray:
        """Samples of a block as they are scored."""
        protocol = self.cell.suite.protocol
        with tf32(protocol.tf32):
            x = draw_samples(
                self.generator(meter),
                self.lab.inputs,
                seed=seed,
                count=count,
                steps=steps,
                batch=protocol.batch,
                device=self.lab.device,
            )
            return self.lab.evaluator.pixels(x)

    def evaluations(self, steps: int) -> float:
        """FLOPs of one sample over those of one call of its network, counted by torch itself."""
        noise, cond = self.lab.inputs(0, range(1), self.lab.device)
        one = noise.initial()
        whole = forward_flops(lambda: self.generator(Meter()).sample(noise, cond, steps))
        return whole / forward_flops(self.snapshot.students[steps], one, 1.0, cond)


def train_again(record: Record, cell: Cell, lab: Lab) -> Iterator[str]:
    """Train the cell as its record states it; clauses for all that came out otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(lab, Store(Path(folder)), PlainReporter(lambda line: None), record.command)
        made = Runner(bench, None).run(cell)
    if made.failure:
        yield f"trained again: failed in {made.failure.stage}: {made.failure.message}"
    if made.cost and record.cost and made.cost.units_by_role != record.cost.units_by_role:
        yield f"cost.units_by_role: {record.cost.units_by_role}, trained again {made.cost.units_by_role}"
    rows = {row.steps: row for row in made.rows}
    exact = same_machine(record, lab.device)
    for row in record.rows:
        other = rows.get(row.steps)
        if other is None:
            yield f"trained again: no row of {row.steps} steps"
        elif other.student_sha256 != row.student_sha256:
            key = cell.suite.primary
            values = f"{key} {row.metrics[key].mean:.6g}, trained again {other.metrics[key].mean:.6g}"
            why = "" if exact else " (another machine, where bytes are not promised)"
            yield f"{row.steps} steps: other weights: {values}{why}"
