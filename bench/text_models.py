"""Text-to-image teachers of suites: pipeline folders that ship or were fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from baselines.datasets.captioned_files import CaptionedPictures, CaptionList
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.guidance import FixedStrength, Strength, UniformStrength, guided
from baselines.teachers.captioned import SOURCES, CaptionedLatents, CaptionedSource
from baselines.teachers.pipeline_folder import PipelineFolder
from baselines.teachers.published_pipelines import PUBLISHED
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
from bench.ahead import PicturesAhead
from bench.errors import AssetError
from bench.files import find_file, is_here
from bench.parts import Pipeline

Found = TypeVar("Found")
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


def configs_of(pipeline: Pipeline) -> PipelineFolder:
    """Configs of a pipeline: of its folder, or as they are known while a published one is not here.

    Raises:
        AssetError: missing, or no pipeline of this kind.
    """
    if pipeline.folder in PUBLISHED and not is_here(pipeline.folder):
        return PUBLISHED[pipeline.folder]
    return _complaining(lambda: PipelineFolder.open(pipeline_folder(pipeline)))


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
    folder = configs_of(pipeline)
    scaling = _complaining(lambda: folder.scaling(pipeline.prediction))
    return TeacherModel(
        space=text_space(folder, scaling),
        build=partial(blank_net, folder, form_of(pipeline), scaling),
        draw=lambda *batch: _data(pipeline, device, pictures=True).draw(*batch),
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


def _complaining(read: Callable[[], Found]) -> Found:
    """What a reader returns; its ValueError is one of assets."""
    try:
        return read()
    except ValueError as error:
        raise AssetError(str(error)) from error


def _data(pipeline: Pipeline, device: str, *, pictures: bool = False) -> CaptionedLatents:
    model = open_text(pipeline, device)
    source = _source(pipeline.data, pipeline.pictures if pictures else None, model.side)
    return CaptionedLatents(model, source, strength_of(pipeline))


@cache
def _source(data: str, pictures: str | None, side: int) -> CaptionedSource:
    """What trainings draw from, opened once."""
    if data in SOURCES:
        return SOURCES[data]
    if pictures is None:
        return _complaining(lambda: CaptionList.open(find_file(data)))
    return PicturesAhead(_complaining(lambda: CaptionedPictures.open(find_file(pictures), side)))


def _guide(pipeline: Pipeline, device: str, net: Denoiser) -> Denoiser | None:
    model, strength = open_text(pipeline, device), strength_of(pipeline)
    return _complaining(lambda: guided(net, model.space, strength, model.text.empty))
