"""The teacher and the data of a suite: those that ship, and published ones read from files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.checkpoints import Architecture, Checkpoint, CheckpointError, read_checkpoint
from baselines.checkpoints.architecture import NETWORKS, Preconditioning
from baselines.checkpoints.denoisers import build_denoiser, load_denoiser
from baselines.datasets.stored_images import StoredImages
from baselines.datasets.stored_latents import StoredLatents
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, Scaling
from baselines.distiller import Space
from baselines.streams import numpy_generator
from baselines.teachers.registry import TEACHERS, TeacherModel, WeightsError, load_teacher
from baselines.teachers.text_students import load_text_student
from bench.errors import AssetError, UsageError, unknown
from bench.files import find_file, proven_digest
from bench.parts import Files, Model, Pipeline, PublishedStudent
from bench.suite import Suite
from bench.text_models import open_text, text_model

BODIES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}  # on a GPU; a CPU computes in fp32
Stored = StoredImages | StoredLatents


class OpenedTeacher(NamedTuple):
    """A teacher ready to run: model, network with its weights, and their digest."""

    model: TeacherModel
    net: Denoiser
    sha256: str


def body(model: Model, device: str) -> torch.dtype | None:
    """Precision of activations on a device; None for that of the input."""
    return BODIES[model.precision] if torch.device(device).type == "cuda" else None


def teacher_model(suite: Suite) -> TeacherModel:
    """Space, network and data of a suite's teacher; reads no weights and no data.

    Raises:
        UsageError: no such teacher, or a network of which the suite file gives other arguments than it takes.
    """
    if suite.pipeline is not None:
        return text_model(suite.pipeline)
    if suite.model is None:
        if suite.teacher not in TEACHERS:
            raise unknown("teacher", suite.teacher, TEACHERS, f"suite {suite.name}")
        return TEACHERS[suite.teacher]()
    model = suite.model
    space = Space(model.shape, model.classes)
    build = partial(build_denoiser, architecture(suite.name, model))
    return TeacherModel(
        space=space,
        build=build,
        draw=partial(_draw, suite),
        draw_conditions=partial(_draw_conditions, model),
    )


def open_teacher(suite: Suite, device: str = "cpu") -> OpenedTeacher:
    """The teacher of a suite with its weights, for a device; all but pipelines are on the CPU still.

    Raises:
        AssetError: weights are missing, damaged, or of another network than the suite's.
    """
    if suite.pipeline is not None:
        text = open_text(suite.pipeline, device)
        return OpenedTeacher(text_model(suite.pipeline, device), text.net, text.sha256)
    model = teacher_model(suite)
    if suite.model is None or suite.files is None:
        try:
            return OpenedTeacher(*load_teacher(suite.teacher))
        except WeightsError as error:
            raise AssetError(str(error)) from error
    checkpoint, net = load_network(suite.files.teacher, suite.model, device)
    # students are copies of what the file holds, which may be smaller than what the suite says
    build = partial(build_denoiser, checkpoint.architecture, body(suite.model, device))
    return OpenedTeacher(
        TeacherModel(space=model.space, build=build, draw=model.draw, draw_conditions=model.draw_conditions),
        net,
        checkpoint.sha256,
    )


def architecture(where: str, model: Model) -> Architecture:
    """What a suite file says of a network, as a record."""
    given: dict[str, Any] = {
        "resolution": model.resolution,
        "channels": model.channels,
        "label_dim": model.classes,
    }
    if model.network != "EDM2UNet":
        given["out_channels"] = model.channels
    given |= {key: tuple(v) if isinstance(v, list) else v for key, v in model.options.items()}
    try:
        config = NETWORKS[model.network](**given)
    except TypeError as error:
        raise UsageError(f"suite {where}: key 'model.options': {model.network} {error}") from error
    return Architecture(model.network, config, Preconditioning("edm", "ln(sigma)/4"))


def load_network(file: str, model: Model, device: str = "cpu") -> tuple[Checkpoint, Denoiser]:
    """A weight file with its network, if that fits the suite.

    Raises:
        AssetError: missing, unreadable, or for other images or classes.
    """
    path = find_file(file)
    try:
        checkpoint = read_checkpoint(path, resolution=model.resolution, proven=proven_digest(file))
        denoiser = load_denoiser(checkpoint, body(model, device))
    except CheckpointError as error:
        raise AssetError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    config = checkpoint.architecture.config
    found = tuple(getattr(config, key) for key in ("resolution", "channels", "label_dim"))
    wanted = (model.resolution, model.channels, model.classes)
    if found != wanted:
        names = ("resolution", "channels", "classes")
        differ = [f"{n} {f}, expected {w}" for n, f, w in zip(names, found, wanted, strict=True) if f != w]
        raise AssetError(f"{path}: its network has {'; '.join(differ)} (suite); get the file that fits")
    return checkpoint, denoiser


@dataclass(frozen=True, eq=False)
class ReleasedStudent:
    """A student from its authors' file, where a trained one's snapshot stands.

    Attributes:
        path: the file; students: its network, by step count.
    """

    path: Path
    students: dict[int, Denoiser]


def released_student(
    suite: Suite, student: PublishedStudent, scaling: Scaling | None = None, device: str = "cpu"
) -> ReleasedStudent:
    """Load a published student; see ``load_network`` for errors.

    Args:
        scaling: preconditioning of its method's students; None keeps that of the teacher's network.
    """
    if suite.pipeline is not None:
        net = _text_student(suite.pipeline, student, device)
        scaling = scaling if student.timestep is None else None  # it has one of its own
    else:
        assert suite.model is not None
        _, net = load_network(student.file, suite.model, device)
    net = net if scaling is None else net.rescaled(scaling).eval()
    return ReleasedStudent(find_file(student.file), dict.fromkeys(student.steps, net.to(device)))


def _text_student(pipeline: Pipeline, student: PublishedStudent, device: str) -> Denoiser:
    path, w = find_file(student.file), None if student.guidance is None else student.guidance - 1
    try:
        return load_text_student(open_text(pipeline, device), path, w=w, timestep=student.timestep)
    except CheckpointError as error:
        raise AssetError(str(error)) from error


def open_data(files: Files, model: Model) -> Stored:
    """The training data of a suite, checked against its network.

    Raises:
        AssetError: missing, or images, latents or labels that do not fit.
    """
    latents = files.decoder is not None
    return _opened(find_file(files.data), latents, model.resolution, model.channels, model.classes)


@cache
def _opened(path: Path, latents: bool, resolution: int, channels: int, classes: int) -> Stored:
    try:
        if latents:
            return StoredLatents.open(path, resolution, n_classes=classes)
        return StoredImages.open(path, resolution, channels=channels, n_classes=classes)
    except ValueError as error:
        raise AssetError(str(error)) from error


def _draw(suite: Suite, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
    assert suite.model is not None and suite.files is not None
    return open_data(suite.files, suite.model).batch(seed, iteration, size)


def _draw_conditions(model: Model, seed: int, iteration: int, size: int) -> tuple[Tensor, Cond]:
    """Classes drawn evenly and no images: what a data-free method is given, whether data is here or not."""
    empty = torch.empty(size, 0)
    if not model.classes:
        return empty, Cond()
    labels = numpy_generator(seed, "labels", iteration).integers(model.classes, size=size)
    return empty, Cond(label=torch.from_numpy(labels))
