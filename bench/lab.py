"""The bench a suite's cells are run on: teacher, data, evaluator and their digests, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.ema import EMALaw
from baselines.diffusion.samplers import SOLVERS
from baselines.distiller import Generator, Space, Teacher
from baselines.generators import ODESolver
from baselines.networks.checkpointing import checkpoint_blocks
from baselines.teachers.registry import TeacherModel
from bench.ahead import Ahead
from bench.cell import Cell
from bench.context import RunContext
from bench.errors import UsageError
from bench.evaluation import evaluator_for
from bench.evaluator import Evaluator
from bench.meter import ALONE, Meter, Metered, Sharing, denoiser_flops
from bench.models import open_teacher
from bench.parts import Pipeline
from bench.sampling import Inputs
from bench.suite import Suite
from bench.text_models import text_model


@dataclass(frozen=True)
class Lab:
    """Everything the cells of a suite share.

    Attributes:
        net: the teacher's network (reference of the work unit); exact: its closed form, if any.
        guided: the network under guidance, if that is what students learn.
        teacher_sha256: of the network's weights.
        device: where training and sampling run.
        checkpointing: whether trainings make activations again instead of keeping them.
        taught: labs of the same suite whose students learn other guidance, by pipeline, as they were opened.
    """

    suite: Suite
    entry: TeacherModel
    net: Denoiser
    exact: Denoiser | None
    teacher_sha256: str
    evaluator: Evaluator
    reference_flops: int
    device: torch.device
    guided: Denoiser | None = None
    checkpointing: bool = False
    taught: dict[Pipeline | None, Lab] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def open(suite: Suite, device: str = "cpu", *, checkpointing: bool = False) -> Lab:
        """Load what a suite needs.

        Raises:
            UsageError, AssetError: see ``bench.models.open_teacher``; a network too small for checkpointing.
        """
        entry, net, digest = open_teacher(suite, device)
        place = torch.device(device)
        exact = None if entry.exact is None else entry.exact().eval().requires_grad_(False).to(place)
        flops = unit_flops(entry)
        # channels last: 1.1 to 1.2 times faster backwards on the CPU
        net = net.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if checkpointing:
            spare_memory(net, suite)
        guided, evaluator = entry.guide(net), evaluator_for(suite, device)
        return Lab(suite, entry, net, exact, digest, evaluator, flops, place, guided, checkpointing)

    def of(self, suite: Suite) -> Lab:
        """This lab, or one whose students learn a range of guidance scales of their own; the unit stays.

        Each is opened once, whatever cells and orders ask for it.
        """
        if suite.pipeline == self.suite.pipeline:
            return self
        if suite.pipeline not in self.taught:
            opened = Lab.open(suite, str(self.device), checkpointing=self.checkpointing)
            self.taught[suite.pipeline] = replace(opened, reference_flops=self.reference_flops)
        return self.taught[suite.pipeline]

    @property
    def space(self) -> Space:
        """Coordinates of the samples."""
        return self.entry.space

    @property
    def inputs(self) -> Inputs:
        """Noise and conditions of samples, by the protocol."""
        return self.evaluator.inputs(self.space.shape)

    def teacher(self, meter: Meter, share: Sharing = ALONE) -> Teacher:
        """The teacher in counting shells; the closed form stands for the network and costs one unit."""
        others = [
            None if one is None else Metered(one, "teacher", meter, share=share)
            for one in (self.exact, self.guided)
        ]
        return Teacher(self.space, Metered(self.net, "teacher", meter, share=share), *others)

    def at(self, guidance: float, meter: Meter) -> Metered:
        """The teacher at another guidance scale."""
        assert self.suite.pipeline is not None
        pipeline = self.suite.pipeline.model_copy(update={"guidance": guidance, "learned": None})
        entry = text_model(pipeline, str(self.device))
        return Metered(entry.guide(self.net) or self.net, "teacher", meter)

    def context(self, cell: Cell, meter: Meter, share: Sharing = ALONE) -> RunContext:
        """The context of a student cell's training."""
        assert cell.method is not None and cell.preset is not None
        data_free = not cell.method.cls.needs.data
        draw = partial(self.entry.draw_for(data_free=data_free), cell.seed)
        return RunContext(
            self.space,
            draw if self.suite.files is None or data_free else Ahead(draw),
            meter,
            budget=cell.budget.work,
            batch_size=cell.preset.batch,
            seed=cell.seed,
            data_free=data_free,
            reference_flops=self.reference_flops,
            device=self.device,
            share=share,
        )

    def generator(self, cell: Cell, meter: Meter, students: Mapping[int, Any] | None = None) -> Generator:
        """Generator of a cell: a plain solver on the teacher, or trained students."""
        if cell.method is not None and students is not None:
            return cell.method.cls.generator(students, cell.config, self.space)
        denoiser = self.teacher(meter).denoiser if cell.guidance is None else self.at(cell.guidance, meter)
        return ODESolver(denoiser, self.space.grid, cell.detail, SOLVERS[cell.detail])

    def law(self, cell: Cell) -> EMALaw:
        """Law of the evaluation average of a cell."""
        assert cell.preset is not None
        return EMALaw(cell.preset.ema_half_life, cell.preset.ema_ramp)


def spare_memory(net: Denoiser, suite: Suite) -> None:
    """Let trainings on a network's copies make activations again instead of keeping them.

    Raises:
        UsageError: the network is too small for it.
    """
    try:
        checkpoint_blocks(net)
    except ValueError as error:
        raise UsageError(f"--checkpointing: suite {suite.name}: {error}; leave it away") from error


def unit_flops(entry: TeacherModel) -> int:
    """FLOPs of one forward of a teacher's network on one sample; on torch's meta device, so none is spent."""
    with torch.device("meta"):
        net = entry.build().eval()
    return denoiser_flops(net, entry.space.shape, entry.space.blank(1, "meta"))
