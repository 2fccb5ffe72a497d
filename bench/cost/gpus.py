"""Named GPUs and their peaks (``bench/data/gpus.toml``): time from FLOPs, an estimate and no measurement."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import Field

from bench.errors import unknown
from bench.parts import Part

TERA = 1e12


class Gpu(Part):
    """One GPU as its datasheet states it; dense TFLOP/s."""

    title: str
    half: float = Field(gt=0, description="fp16 or bf16 with fp32 accumulation")
    half_format: Literal["fp16", "bf16"]
    fp32: float = Field(gt=0, description="outside the tensor cores")
    watts: float = Field(gt=0, description="most that the board draws")
    source: str

    def peak(self, half: bool) -> float:
        """FLOP/s."""
        return (self.half if half else self.fp32) * TERA


class Utilisation(Part):
    """Share of the peak that a run is assumed to reach, by precision."""

    half: float = Field(gt=0, le=1)
    fp32: float = Field(gt=0, le=1)
    source: str

    def share(self, half: bool) -> float:
        """Of a precision."""
        return self.half if half else self.fp32


class GpuTable(Part):
    """The file."""

    utilisation: Utilisation
    gpus: dict[str, Gpu]

    def hours(self, name: str, flops: float, *, half: bool) -> float:
        """GPU-hours of so many FLOPs on one GPU; raises UsageError for an unknown name."""
        return flops / (self.find(name).peak(half) * self.utilisation.share(half)) / 3600

    def energy(self, name: str, flops: float, *, half: bool) -> float:
        """Kilowatt-hours of the board at its full power for ``hours``, as at most; raises as that does."""
        return self.hours(name, flops, half=half) * self.find(name).watts / 1000

    def find(self, name: str) -> Gpu:
        """A GPU by name, whatever the case; raises UsageError naming the nearest one."""
        if name.lower() not in self.gpus:
            raise unknown("GPU", name, self.gpus, "--gpu")
        return self.gpus[name.lower()]


@cache
def gpu_table() -> GpuTable:
    """The table that ships."""
    text = (resources.files("bench") / "data" / "gpus.toml").read_text(encoding="utf-8")
    return GpuTable.model_validate(tomllib.loads(text))
