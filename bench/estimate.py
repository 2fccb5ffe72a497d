"""Cost of cells before they run: work units from the suite, seconds from a short calibration."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bench.cell import Cell
from bench.lab import Lab
from bench.meter import Meter
from bench.suite import Suite
from bench.training import SNAPSHOT_FRACTIONS

CALIBRATION_SECONDS = 0.5  # per batch size
NETWORK_COPIES = 10  # student, fake, two Adam moments of each, averages, gradients, a checkpoint on its way


@dataclass(frozen=True)
class Estimate:
    """Cost of one cell.

    Attributes:
        train_units, sample_units: forwards of the reference network on one sample.
        seconds: on this machine; megabytes: networks, optimiser states, activations; not the imports.
    """

    label: str
    kind: str
    train_units: float
    sample_units: float
    seconds: float
    megabytes: float


def units_per_second(lab: Lab, batch: int) -> float:
    """Reference forwards per second at a batch size, measured now."""
    x = torch.zeros(batch, *lab.space.shape, device=lab.device)
    cond = lab.evaluator.labels(range(batch)).to(lab.device)
    calls, denoiser = 0, lab.teacher(Meter()).net
    with torch.no_grad():
        denoiser(x, 1.0, cond)
        start = time.perf_counter()
        while time.perf_counter() - start < CALIBRATION_SECONDS:
            denoiser(x, 1.0, cond)
            calls += 1
    return calls * batch / (time.perf_counter() - start)


def sampling_units(cell: Cell) -> float:
    """Evaluations of all rows, repeats and curve points of a cell."""
    protocol = cell.suite.protocol
    if cell.kind == "anchor":
        return 0.0
    rows = protocol.samples * protocol.repeats * sum(cell.steps)
    curve = (
        protocol.curve_samples * len(SNAPSHOT_FRACTIONS) * sum(cell.steps) if cell.kind == "student" else 0
    )
    return float(rows + curve)


def estimate(suite: Suite, cells: list[Cell]) -> list[Estimate]:
    """Estimates in the order of the cells; loads the teacher and measures its speed."""
    lab, speeds = Lab.open(suite), dict[int, float]()
    weights = sum(p.numel() * p.element_size() for p in lab.net.parameters())
    lines = []
    for cell in cells:
        batch = cell.preset.batch if cell.preset else suite.protocol.batch
        for size in (batch, suite.protocol.batch):
            speeds.setdefault(size, units_per_second(lab, size))
        train = cell.budget.work if cell.kind == "student" else 0.0
        sample = sampling_units(cell)
        seconds = train / speeds[batch] + sample / speeds[suite.protocol.batch]
        networks = weights * (NETWORK_COPIES if cell.kind == "student" else 1)
        pixels = 4 * batch * int(torch.tensor(lab.space.shape).prod()) * 64  # feature maps of a backward
        lines.append(Estimate(cell.label, cell.kind, train, sample, seconds, (networks + pixels) / 2**20))
    return lines
