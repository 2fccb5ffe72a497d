"""What the covariate-shift meter measured: schema, reading, writing. Imports no numerics.

One file per suite, ``leaderboards/shift/<suite>.json``: a row per student and step count of at least two.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.atomic import write_atomic
from bench.errors import UsageError, mismatch

SHIFT_VERSION: Literal[1] = 1


class Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ShiftLevel(Part):
    """One noise level that the student's sampler visits; one value per repeat."""

    sigma: float
    distance: list[float] = Field(description="visited states against forward states")
    floor: list[float] = Field(description="other forward states against the same ones")


class ShiftRow(Part):
    """One (student, step count)."""

    cell: str = Field(description="id of the cell, as in its record")
    label: str
    budget: str
    seed: int = Field(description="of the training")
    steps: int = Field(ge=2)
    student_sha256: str
    levels: list[ShiftLevel] = Field(min_length=1, description="as visited; the first, pure noise, left out")
    code_sha: str | None
    dirty: bool
    diff_sha256: str | None
    created: str = Field(description="UTC, ISO 8601")

    @property
    def distance(self) -> list[float]:
        """Mean over the levels, one value per repeat."""
        return [mean(values) for values in zip(*(level.distance for level in self.levels), strict=True)]

    @property
    def floor(self) -> list[float]:
        """The same of the floor."""
        return [mean(values) for values in zip(*(level.floor for level in self.levels), strict=True)]


class ShiftProtocol(Part):
    """How the shift is measured; rows of one file share it."""

    version: int = Field(1, description="of the meter; raised by any change that moves numbers")
    distance: Literal["points", "teacher-view"]
    count: int = Field(gt=0, description="states on each side")
    repeats: int = Field(gt=0)
    seed: int = Field(description="sampling seed of the first repeat; repeat r uses seed + r")
    teacher_sha256: str
    extractor_sha256: str | None


class ShiftReport(Part):
    """All students of a suite."""

    schema_version: Literal[1] = SHIFT_VERSION
    suite: str
    suite_version: str
    protocol: ShiftProtocol
    rows: list[ShiftRow]


def write_shift(report: ShiftReport, path: Path) -> None:
    """Write a report as indented JSON, whole or not at all."""
    text = json.dumps(report.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, text + "\n")


def read_shift(path: Path) -> ShiftReport | None:
    """Read and check a report; None where there is no file.

    Raises:
        UsageError: unreadable file, broken JSON, or a key that breaks the schema.
    """
    if not path.is_file():
        return None
    try:
        return ShiftReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: key {key!r}: {mismatch(first, 80)}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a readable shift report ({error})") from error
