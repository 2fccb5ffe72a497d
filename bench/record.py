"""The result of one cell: schema, provenance and atomic reading and writing. Imports no numerics.

One JSON file per cell; its JSON Schema is ``bench/data/record.schema.json`` (a test keeps them equal).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.atomic import write_atomic
from bench.errors import UsageError, mismatch

SCHEMA_VERSION = 2
READABLE = (1, SCHEMA_VERSION)  # 2 added ``plugin_metrics``; a record of 1 has none, and is read as one of 2
PluginName = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
]  # it becomes a key, and a macro of LaTeX
PluginVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9.]{1,20}$")]
Status = Literal["ok", "failed", "truncated", "diverged", "timeout", "skipped", "lost"]


class Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class MetricValue(Part):
    """One metric of one row over repeats (independent sample blocks)."""

    mean: float
    std: float | None = Field(None, description="over repeats, n - 1 in the divisor; null for one repeat")
    ci95: tuple[float, float] | None = Field(
        None, description="95 % interval of the mean (Student t over repeats)"
    )
    values: list[float] = Field(description="one value per repeat")


class Latency(Part):
    """Time per call at a batch size, after warm-up."""

    protocol: str
    batch: int
    median_ms: float
    p90_ms: float
    teacher_forward_ms: float = Field(description="one teacher forward, same process and batch")
    ratio: float = Field(description="median over one teacher forward; what tables show")
    spread_ms: float | None = Field(None, description="between the quartiles of the timed calls")
    stages_ms: dict[str, float] | None = Field(
        None, description="medians by stage, timed apart: text encoder, network, autoencoder, other"
    )
    images_per_s: float | None = Field(None, description="batch over the median")
    peak_memory_mib: float | None = Field(
        None, description="weights of the networks called, and what one call allocates at its peak"
    )
    beside: Literal["network"] | None = Field(
        None, description="what stands beside it: the teacher's network; null: the denoiser that methods saw"
    )
    precision: str | None = Field(None, description="fp32, or fp16 by autocast")
    timer: Literal["host", "cuda events"] | None = None
    compiled: bool | None = None


class Row(Part):
    """One (cell, NFE): what a line of a leaderboard is made from."""

    nfe: int = Field(
        description="denoiser calls per sample, counted while sampling; of an external row as its maker says"
    )
    nfe_by_role: dict[str, float] = Field(
        description="the same by role, and calls of text encoder and autoencoder, which are in no NFE"
    )
    steps: int = Field(description="step count asked for")
    work: float = Field(description="training units spent up to this row; 0 for plain solvers")
    metrics: dict[str, MetricValue]
    latency: Latency | None = None
    throughput: Latency | None = Field(None, description="by throughput-bmax@1; null where no GPU was used")
    student_sha256: str | None = None
    samples_sha256: str | None = None


class CurvePoint(Part):
    """Metrics at a snapshot of the training, by the smaller curve protocol and its own seed block."""

    work: float
    images: int
    steps: int
    metrics: dict[str, float]


class Cost(Part):
    """What the training spent."""

    work: float
    budget: float
    overshoot: float = Field(description="units spent beyond the budget (at most one iteration)")
    units_by_role: dict[str, float]
    forwards_by_role: dict[str, float]
    backwards_by_role: dict[str, float]
    iterations: int
    images: int
    seconds: float = Field(description="of training, on the hardware named in the provenance; not ranked by")


class Failure(Part):
    """Why a cell has no result."""

    stage: str
    kind: str
    message: str
    traceback: str = Field("", description="tail")


class PluginMetric(Part):
    """A metric that a plugin brings, measured on the samples of the protocol's own; it ranks nothing."""

    title: str = Field(max_length=40, description="of its column")
    about: str = Field(max_length=200, description="one sentence: what it measures, and its unit")
    better: Literal["lower", "higher", "none"]
    digits: int = Field(ge=0, le=12, description="decimals in tables")
    version: PluginVersion = Field(description="of the metric, as its author counts; two do not compare")
    package: str = Field(description="version of the package that brings it; 'plugin' for a file")
    closure_sha256: str = Field(description="source of the metric and of all it imports in the project")
    rows: dict[int, MetricValue] = Field(description="by step count, over the same repeats as the row's own")
    failure: Failure | None = Field(None, description="why there are no values")


class Provenance(Part):
    """Enough to make the row again and to see that nothing else made it."""

    code_sha: str | None
    dirty: bool
    diff_sha256: str | None
    method_closure_sha256: str | None = Field(
        description="source of the method and of all it imports in the project"
    )
    packages: dict[str, str]
    python: str
    platform: str
    device: str
    threads: int
    processes: int = Field(1, description="that shared the work of the cell")
    compiled: bool = Field(False, description="its training ran networks through torch.compile")
    sharded: bool = Field(
        False, description="its training kept weights and optimisers in shards over the processes"
    )
    seeds: dict[str, int]
    teacher_sha256: str | None
    teacher_form: Literal["exact", "network", "unknown"]
    reference_sha256: str | None
    extractor_sha256: str | None
    created: str = Field(description="UTC, ISO 8601")


class Record(Part):
    """One cell of a suite: a method under a budget with one training seed."""

    schema_version: int = SCHEMA_VERSION
    cell: str = Field(description="id: hash of the resolved specification")
    suite: str
    suite_version: str
    protocol: str
    method: str
    method_version: str
    label: str = Field(description="name[option=value] as asked for")
    kind: Literal["student", "published", "teacher", "solver", "anchor", "external"] = Field(
        description="published: weights that their authors released, loaded and measured here; external: "
        "samples that somebody else made; neither is ranked"
    )
    paper: str | None
    needs: list[Literal["data", "labels", "pairs", "features"]] = Field(
        [], description="what the method used besides the teacher"
    )
    config: dict[str, Any]
    preset: dict[str, Any] | None = Field(
        None, description="batch and evaluation average of a training; null in older records"
    )
    budget: str
    seed: int
    status: Status
    rows: list[Row]
    curve: list[CurvePoint] = []
    cost: Cost | None = None
    failure: Failure | None = None
    provenance: Provenance
    command: str = Field(description="makes this record again")
    notes: list[str] = []
    plugin_metrics: dict[PluginName, PluginMetric] = Field({}, description="by name; no part of the protocol")


def write_record(record: Record, path: Path) -> None:
    """Write a record as indented JSON with sorted keys."""
    write_atomic(
        path, json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"
    )


def read_record(path: Path) -> Record:
    """Read and check a record.

    Raises:
        UsageError: unreadable file, broken JSON, another schema version, or a key that breaks the schema.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: not a readable record ({error})") from error
    return parse_record(text, str(path))


def parse_record(text: bytes, where: str) -> Record:
    """Check the JSON of a record; ``where`` names it in errors, which are those of ``read_record``."""
    try:
        raw = json.loads(text.decode("utf-8"), parse_constant=_refuse)
    except ValueError as error:  # broken encoding or JSON
        raise UsageError(f"{where}: not a readable record ({error})") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version not in READABLE:
        known = " or ".join(map(str, READABLE))
        raise UsageError(f"{where}: schema_version is {version!r}, expected {known}; remake the record")
    try:
        return Record.model_validate(raw | {"schema_version": SCHEMA_VERSION})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}: key {key!r}: {mismatch(first, 80)}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def schema_text() -> str:
    """The JSON Schema of a record, as ``bench/data/record.schema.json`` holds it."""
    return json.dumps(Record.model_json_schema(), indent=1, sort_keys=True) + "\n"
