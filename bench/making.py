"""The heavy parts of a cell, training and samples, for one process or several that do them together."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from baselines.distiller import Distiller, Generator
from bench.cell import Cell
from bench.lab import Lab
from bench.meter import ALONE, Meter, Sharing, metered
from bench.models import ReleasedStudent, released_student
from bench.sampling import Team, draw_samples
from bench.training import Progress, Snapshot, Training
from metrics.precision import tf32

Student = Snapshot | ReleasedStudent


def training_of(
    lab: Lab,
    cell: Cell,
    folder: Path,
    report: Progress,
    share: Sharing = ALONE,
    kind: type[Training] = Training,
) -> Training:
    """The training of a student cell, in the folder of its stage."""
    meter = Meter()
    context = lab.context(cell, meter, share)
    assert cell.method is not None
    method: Distiller = cell.method.cls(lab.teacher(meter, share), cell.config, context)
    return kind(method, context, lab.law(cell), folder, cell.budget, report)


def load_snapshot(lab: Lab, cell: Cell, path: Path) -> Snapshot:
    """Weights of a snapshot in the architecture of a cell's students."""
    assert cell.method is not None
    scaling = cell.method.cls.student_scaling(cell.config, lab.space)
    return Snapshot(path, lab.entry.build, scaling, lab.device)


def load_released(lab: Lab, cell: Cell) -> ReleasedStudent | None:
    """The published student of a cell; None for a cell that has none."""
    if cell.released is None or cell.method is None:
        return None
    scaling = cell.method.cls.student_scaling(cell.config, lab.space)
    return released_student(cell.suite, cell.released, scaling, str(lab.device))


def generator_of(lab: Lab, cell: Cell, student: Student | None, meter: Meter) -> Generator:
    """A cell's generator in counting shells."""
    return lab.generator(cell, meter, metered(student.students, meter) if student else None)


def draw_block(
    lab: Lab, cell: Cell, student: Student | None, steps: int, seed: int, count: int, team: Team | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Samples of a block in model space, and the evaluations that this process counted, by role."""
    meter = Meter()
    with meter.during("sample"), tf32(cell.suite.protocol.tf32):
        x = draw_samples(
            generator_of(lab, cell, student, meter),
            lab.inputs,
            seed=seed,
            count=count,
            steps=steps,
            batch=cell.suite.protocol.batch,
            device=lab.device,
            team=team,
        )
    return x, meter.by_role("forwards", "sample")
