"""The stages of one cell: distil -> sample -> score -> rows, curve and record; each content-addressed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import load_file, save_file
from torch import Tensor

from baselines.distiller import Generator
from bench.atomic import write_atomic
from bench.cell import Cell
from bench.closure import closure_digest
from bench.compiling import calls_of
from bench.events import Events, Heartbeat, write_status
from bench.lab import Lab
from bench.latency import Parts, measure_latency, measure_throughput
from bench.making import Student, draw_block, generator_of, load_released, load_snapshot, training_of
from bench.meter import Meter
from bench.progress import Reporter
from bench.provenance import provenance
from bench.record import Cost, CurvePoint, Failure, Latency, MetricValue, Record, Row, Status
from bench.sampling import device_class
from bench.store import Store, file_digest, read_json
from bench.suite_protocol import CaptionProtocol
from bench.training import Snapshot, snapshot_files
from bench.training_data import training_data
from metrics.precision import tf32
from metrics.statistics import summarise

AROUND = frozenset({"text encoder", "autoencoder"})  # roles called around the sampler, not evaluations of it
NEEDS: tuple[Literal["data", "labels", "pairs", "features"], ...] = ("data", "labels", "pairs", "features")


@dataclass(frozen=True)
class Bench:
    """What all cells of a run share: the lab, the store, who watches, and the command to print in records.

    Attributes:
        processes: that share the work of each cell.
        compiled: whether networks are compiled for trainings.
        sharded: whether the processes keep weights of trainings in shards.
    """

    lab: Lab
    store: Store
    reporter: Reporter
    command: str
    processes: int = 1
    compiled: bool = False
    sharded: bool = False


def surroundings(bench: Bench) -> dict[str, str | None]:
    """What a result rests on besides its cell: code, weights, extractor, device class."""
    compiling = ("bench.compiling",) if bench.compiled else ()
    return {
        "training": closure_digest("bench.training", "baselines.teachers.registry", *compiling),
        "sampling": closure_digest("bench.sampling", "baselines.teachers.registry", "baselines.generators"),
        "scoring": closure_digest("bench.evaluation"),
        "teacher": bench.lab.teacher_sha256,
        "extractor": bench.lab.evaluator.extractor_sha256,
        "reference": bench.lab.evaluator.reference_sha256,
        **bench.lab.evaluator.others_sha256,
        "device": device_class(bench.lab.device),
    }


class CellStages:
    """The stages of one cell, in order; ``current`` names the one at work."""

    def __init__(self, bench: Bench, cell: Cell, folder: Path, events: Events) -> None:
        self.lab, self.store = bench.lab.of(cell.suite), bench.store
        self.reporter, self.command = bench.reporter, bench.command
        self.cell, self.folder, self.events, self.processes = cell, folder, events, bench.processes
        self.compiled, self.sharded = bench.compiled, bench.sharded
        self.made_with = surroundings(bench)
        self.current = "teacher"
        self.paths: dict[str, str] = {}

    def enter(self, stage: str) -> None:
        """Note that a stage begins."""
        self.current = stage
        self.events.write("stage", stage=stage)
        write_status(self.folder, "running", stage)
        self.reporter.stage(self.cell.label, stage)

    def note(self, kind: str, path: Path) -> Path:
        """Remember where a stage's files lie."""
        self.paths[kind] = str(path.relative_to(self.store.root))
        write_atomic(self.folder / "stages.json", json.dumps(self.paths, indent=1) + "\n")
        return path

    # ------------------------------------------------------------------ distil

    def distil(self) -> Path:
        """Train the student; the folder holds snapshots and ``training.json``."""
        cell, method = self.cell, self.cell.method
        assert method is not None and cell.preset is not None
        self.enter("distil")
        inputs = {
            "method": [method.cls.name, method.closure_sha256],
            "config": cell.config.model_dump(mode="json"),
            "preset": cell.training,
            "budget": cell.budget.model_dump(mode="json"),
            "seed": cell.seed,
            "teacher": [cell.suite.teacher, self.lab.teacher_sha256],
            **training_data(cell),
            "code": self.made_with["training"],
            "device": self.made_with["device"],
            **cell.asked,
        }
        return self.note("distil", self.store.stage("distil", inputs, self._train))

    def _train(self, folder: Path) -> None:
        report = Heartbeat(self.folder, self.events, self.reporter.training(self.cell.label))
        training_of(self.lab, self.cell, folder, report, calls_of(self.compiled, self.lab.device)).run()

    def snapshot(self, path: Path) -> Snapshot:
        """Weights of a snapshot in the students' architecture."""
        return load_snapshot(self.lab, self.cell, path)

    # ------------------------------------------------------------------ sample and score

    def generator(self, snapshot: Student | None, meter: Meter) -> Generator:
        """The cell's generator in counting shells."""
        return generator_of(self.lab, self.cell, snapshot, meter)

    def sample(self, snapshot: Student | None, steps: int, seed: int, count: int) -> Path:
        """Samples ``0 .. count`` of a block, with the evaluations counted; content-addressed."""
        cell, protocol = self.cell, self.cell.suite.protocol
        source = self.lab.teacher_sha256 if snapshot is None else file_digest(snapshot.path)
        inputs = {
            "source": source,
            "what": cell.detail if cell.method is None else cell.method.cls.name,
            "config": None if cell.config is None else cell.config.model_dump(mode="json"),
            "steps": steps,
            "seed": seed,
            "count": count,
            "labels": protocol.split if isinstance(protocol, CaptionProtocol) else protocol.labels,
            "code": [self.made_with["sampling"], cell.method.closure_sha256 if cell.method else None],
            "device": self.made_with["device"],
            **self.lab.evaluator.drawn_from(anchor=cell.kind == "anchor"),
            **cell.asked,
        }

        def make(folder: Path) -> None:
            with tf32(protocol.tf32):
                samples, nfe = self._draw(snapshot, steps, seed, count)
            save_file({"samples": np.ascontiguousarray(samples)}, folder / "samples.safetensors")
            write_atomic(folder / "nfe.json", json.dumps(nfe) + "\n")

        return self.store.stage("samples", inputs, make)

    def _draw(
        self, snapshot: Student | None, steps: int, seed: int, count: int
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Samples as they are scored, and the evaluations counted per sample, by role."""
        evaluator = self.lab.evaluator
        if self.cell.kind == "anchor":
            return evaluator.anchor(self.cell.detail, count, seed), {}
        x, counted = self._block(snapshot, steps, seed, count)
        nfe = {role: calls / count for role, calls in counted.items()}
        return evaluator.pixels(x), {**nfe, **evaluator.around}

    def _block(
        self, snapshot: Student | None, steps: int, seed: int, count: int
    ) -> tuple[Tensor, dict[str, float]]:
        return draw_block(self.lab, self.cell, snapshot, steps, seed, count)

    def score(self, samples: Path, seed: int) -> dict[str, float]:
        """All metrics of a block of samples; content-addressed."""
        evaluator = self.lab.evaluator
        inputs = {
            "samples": file_digest(samples / "samples.safetensors"),
            "seed": seed,
            "suite": self.cell.suite.teacher,
            "extractor": evaluator.extractor_sha256,
            "reference": evaluator.reference_sha256,
            **evaluator.others_sha256,
            "code": self.made_with["scoring"],
        }

        def make(folder: Path) -> None:
            scores = self._score(samples / "samples.safetensors", seed)
            write_atomic(folder / "scores.json", json.dumps(scores) + "\n")

        return dict(read_json(self.store.stage("scores", inputs, make) / "scores.json"))

    def _score(self, samples: Path, seed: int) -> dict[str, float]:
        return self.lab.evaluator.score(load_file(samples)["samples"], seed)

    def row(self, snapshot: Student | None, steps: int, work: float) -> Row:
        """One leaderboard row: all repeats of a step count, and its latency."""
        protocol = self.cell.suite.protocol
        self.enter("sample")
        blocks = protocol.blocks
        samples = [self.sample(snapshot, steps, seed, protocol.samples) for seed in blocks]
        self.note(f"samples-{steps}", samples[0])
        self.enter("metrics")
        scores = [self.score(path, seed) for path, seed in zip(samples, blocks, strict=True)]
        nfe = read_json(samples[0] / "nfe.json")
        metrics = {key: metric_value([s[key] for s in scores]) for key in scores[0]}
        return Row(
            nfe=round(sum(calls for role, calls in nfe.items() if role not in AROUND)),
            nfe_by_role=nfe,
            steps=steps,
            work=work,
            metrics=metrics,
            latency=self.latency(snapshot, steps),
            throughput=self.throughput(snapshot, steps),
            student_sha256=None if snapshot is None else file_digest(snapshot.path),
            samples_sha256=file_digest(samples[0] / "samples.safetensors"),
        )

    def latency(self, snapshot: Student | None, steps: int) -> Latency | None:
        """Measured time per sample at batch 1; None for reference generators that are no model."""
        if self.cell.kind == "anchor":
            return None
        self.enter("latency")
        return measure_latency(self.generator(snapshot, Meter()), self.parts(snapshot), self.lab, steps)

    def throughput(self, snapshot: Student | None, steps: int) -> Latency | None:
        """Samples per second in the largest batch that fits a GPU; None without one."""
        if self.cell.kind == "anchor" or self.lab.device.type != "cuda":
            return None
        return measure_throughput(self.generator(snapshot, Meter()), self.parts(snapshot), self.lab, steps)

    def parts(self, snapshot: Student | None) -> Parts:
        """Modules that the cell's generator calls, by stage."""
        teacher = self.lab.net if self.lab.exact is None else self.lab.exact
        networks = [teacher] if snapshot is None else list(dict.fromkeys(snapshot.students.values()))
        return {**self.lab.evaluator.parts, "network": networks}

    def curve(self, snapshots: list[Path]) -> list[CurvePoint]:
        """Metrics at every snapshot by the curve protocol."""
        protocol, points = self.cell.suite.protocol, []
        for path in snapshots:
            snapshot = self.snapshot(path)
            for steps in sorted(set(self.cell.steps) & set(snapshot.students)):
                samples = self.sample(snapshot, steps, protocol.curve_seed, protocol.curve_samples)
                metrics = self.score(samples, protocol.curve_seed)
                points.append(
                    CurvePoint(work=snapshot.work, images=snapshot.images, steps=steps, metrics=metrics)
                )
        return points

    def curve_floor(self) -> CurvePoint:
        """What an anchor scores by the curve protocol, whose fewer samples raise every distance."""
        protocol = self.cell.suite.protocol
        samples = self.sample(None, 0, protocol.curve_seed, protocol.curve_samples)
        return CurvePoint(work=0.0, images=0, steps=0, metrics=self.score(samples, protocol.curve_seed))

    # ------------------------------------------------------------------ record

    def record(self) -> Record:
        """Run all stages and put the record together."""
        if self.cell.kind != "student":
            student = load_released(self.lab, self.cell)
            rows = [self.row(student, steps, 0.0) for steps in self.cell.steps]
            curve = [self.curve_floor()] if self.cell.kind == "anchor" else []
            return self.bare_record("ok").model_copy(update={"rows": rows, "curve": curve})
        folder = self.distil()
        training = read_json(folder / "training.json")
        snapshots = snapshot_files(folder)
        last = self.snapshot(snapshots[-1])
        spent: Mapping[str, float] = training["work_by_nfe"]
        steps = [n for n in self.cell.steps if n in last.students]
        rows = [self.row(last, n, spent.get(str(n), training["cost"]["work"])) for n in steps]
        self.enter("curve")
        update = {"rows": rows, "curve": self.curve(snapshots), "cost": Cost(**training["cost"])}
        self.processes, self.sharded = training["processes"][-1], training["sharded"]
        made = self.bare_record(training["status"])
        return made.model_copy(update={**update, "notes": [*made.notes, *training["notes"]]})

    def bare_record(self, status: Status, failure: Failure | None = None) -> Record:
        """A record without results."""
        needs = self.cell.method.cls.needs if self.cell.method else None
        return Record(
            **self.cell.statement(),
            needs=[need for need in NEEDS if needs and getattr(needs, need)],
            status=status,
            rows=[],
            failure=failure,
            notes=[] if failure else list(self.lab.evaluator.notes),
            provenance=provenance(self.lab, self.cell, self.processes, self.compiled, self.sharded),
            command=self.command,
        )


def metric_value(values: list[float]) -> MetricValue:
    """A metric over repeats."""
    summary = summarise(values)
    return MetricValue(mean=summary.mean, std=summary.std, ci95=summary.ci95, values=values)
