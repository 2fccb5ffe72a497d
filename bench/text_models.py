"""Text-to-image teachers of suites: pipeline folders that ship or were fetched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.guidance import FixedStrength, Strength, UniformStrength, guided
from baselines.teachers.captioned import SOURCES, CaptionedLatents
from baselines.teachers.pipeline_folder import PipelineFolder
from baselines.teachers.registry import WEIGHTS, TeacherModel
from baselines.teachers.stable_diffusion import (
    Form,
    LowRankChange,
    StrengthInput,
    TextTeacher,
    Whole,
    blank_net,
    open_text_teacher,
    text_space,
)
from bench.errors import AssetError
from bench.files import find_file
from bench.parts import Pipeline

TAUGHT = ("shapes",)  # pipelines that a command of ours trains


def pipeline_folder(pipeline: Pipeline) -> Path:
    """Where a pipeline lies: among the weights that ship, or as an asset or path.

    Raises:
        AssetError: it is not here.
    """
    shipped = WEIGHTS / pipeline.folder
    if pipeline.folder in TAUGHT and not (shipped / "model_index.json").is_file():
        raise AssetError(
            f"{shipped}: the models of {pipeline.folder} are not there; train them with 'bench teach --suite "
            f"{pipeline.folder} --part' vocabulary, vae, unet, clip and features"
        )
    return shipped if pipeline.folder in TAUGHT else find_file(pipeline.folder)


def strength_of(pipeline: Pipeline) -> Strength:
    """What students learn: strengths are guidance scales less 1."""
    if pipeline.learned is None:
        return FixedStrength(pipeline.guidance - 1)
    low, high = pipeline.learned
    return UniformStrength(low - 1, high - 1)


def form_of(pipeline: Pipeline) -> Form:
    """What students are made of."""
    if pipeline.rank is not None:
        return LowRankChange(pipeline.rank)
    return Whole() if pipeline.learned is None else StrengthInput()


def sampling_condition(pipeline: Pipeline, model: TextTeacher, captions: Sequence[str]) -> Cond:
    """The condition of samples: captions, and the scale where students take it as an input."""
    return model.condition(captions, None if pipeline.learned is None else pipeline.guidance - 1)


def text_model(pipeline: Pipeline, device: str = "cpu") -> TeacherModel:
    """Space, network and data of a pipeline; reads its configs and no weights.

    Raises:
        AssetError: missing, or no pipeline of this kind.
    """
    folder = _complaining(lambda: PipelineFolder.open(pipeline_folder(pipeline)))
    scaling = _complaining(lambda: folder.scaling(pipeline.prediction))
    return TeacherModel(
        space=text_space(folder, scaling),
        build=partial(blank_net, folder, form_of(pipeline), scaling),
        draw=lambda *batch: _data(pipeline, device).draw(*batch),
        draw_conditions=lambda *batch: _data(pipeline, device).draw_conditions(*batch),
        guide=partial(_guide, pipeline, device),
    )


@cache
def open_text(pipeline: Pipeline, device: str = "cpu") -> TextTeacher:
    """A pipeline with its weights, opened once.

    Raises:
        AssetError: see ``open_text_teacher``.
    """
    return _complaining(
        lambda: open_text_teacher(
            pipeline_folder(pipeline),
            form=form_of(pipeline),
            prediction=pipeline.prediction,
            scaling_factor=pipeline.scaling_factor,
            device=device,
        )
    )


def _complaining(read: Any) -> Any:
    """What a reader returns; its ValueError is one of assets."""
    try:
        return read()
    except ValueError as error:
        raise AssetError(str(error)) from error


def _data(pipeline: Pipeline, device: str) -> CaptionedLatents:
    return CaptionedLatents(open_text(pipeline, device), SOURCES[pipeline.data], strength_of(pipeline))


def _guide(pipeline: Pipeline, device: str, net: Denoiser) -> Denoiser | None:
    model, strength = open_text(pipeline, device), strength_of(pipeline)
    return _complaining(lambda: guided(net, model.space, strength, model.text.empty))
