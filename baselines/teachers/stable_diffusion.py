"""Text-to-image teachers from diffusers pipeline folders of Stable Diffusion's kinds: SD, SDXL, LCM, our own.

Everything of theirs is adapted here, once: what comes out is a ``Denoiser`` in a ``Space``, captions to
conditions, latents to images. Only safetensors are read, and no socket is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.guidance import GuidedDenoiser, Strength, guided
from baselines.diffusion.vp import EpsilonScaling, TimestepGrid
from baselines.distiller import Space
from baselines.fake_score import KarrasIndexLaw
from baselines.networks.layers import unset
from baselines.networks.low_rank import with_low_rank
from baselines.networks.text_unet import TextUNet
from baselines.streams import torch_generator
from baselines.teachers.autoencoder import ScaledLatents, load_autoencoder
from baselines.teachers.pipeline_folder import PipelineFolder, check_fit, readable
from baselines.teachers.text_encoder import LastStates, TextEncoder, TwoTowers


class Form(Protocol):
    """What students are made of; none of the forms changes what the network computes."""

    def shape(self, unet: Any) -> None: ...


@dataclass(frozen=True)
class Whole:
    """The U-Net as it is."""

    def shape(self, unet: Any) -> None:
        """Leave it."""


@dataclass(frozen=True)
class StrengthInput:
    """The U-Net with LCM's guidance embedding, whose weights are zero at first."""

    width: int = 256

    def shape(self, unet: Any) -> None:
        """Add the embedding, unless the U-Net has one."""
        if unet.config.time_cond_proj_dim is None:
            embedding = unet.time_embedding
            first = embedding.linear_1
            added = unset(torch.nn.Linear, self.width, first.in_features, bias=False, beside=first.weight)
            torch.nn.init.zeros_(added.weight)
            embedding.cond_proj = added
            unet.register_to_config(time_cond_proj_dim=self.width)


@dataclass(frozen=True)
class LowRankChange:
    """A change of a given rank beside the U-Net's frozen weights (LCM-LoRA: 64)."""

    rank: int = 64

    def shape(self, unet: Any) -> None:
        """Add the change."""
        with_low_rank(unet, self.rank, torch_generator(0, "init"))


@dataclass(frozen=True)
class TextTeacher:
    """A text-to-image model under the house conventions.

    Attributes:
        space: of its latents; net: the conditional network, frozen; build: the same without its weights.
        text: captions to conditions; latents: to images and back.
        sha256: over all parts of the folder that decide a number.
    """

    path: Path
    space: Space
    net: Denoiser
    build: Callable[[], Denoiser]
    text: TextEncoder
    latents: ScaledLatents
    sha256: str

    def condition(self, captions: Sequence[str], w: float | None = None) -> Cond:
        """The condition of captions; ``w`` for networks whose input the guidance strength is.

        Networks that read sizes are asked for whole pictures, of the size that they make.
        """
        said = self.text(captions)
        assert said.text is not None
        count, place, sizes = len(captions), said.text.device, None
        if self.space.pooled:
            height, width = (self.latents.stride * side for side in self.space.shape[1:])
            sizes = torch.tensor([[height, width, 0.0, 0.0, height, width]], device=place).repeat(count, 1)
        return replace(said, w=None if w is None else torch.full((count,), w, device=place), sizes=sizes)

    @property
    def side(self) -> int:
        """Pixels of a side of its pictures."""
        return self.latents.stride * self.space.shape[-1]

    def guided(self, strength: Strength) -> GuidedDenoiser | None:
        """What students learn under guidance (None at strength 0); shares the weights of ``net``.

        Raises:
            ValueError: the network was distilled and has no unconditional branch.
        """
        try:
            return guided(self.net, self.space, strength, self.text.empty)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def open_text_teacher(
    path: Path,
    *,
    form: Form | None = None,
    prediction: str | None = None,
    scaling_factor: float | None = None,
    encodings: Path | None = None,
    device: str = "cpu",
) -> TextTeacher:
    """Open a pipeline folder.

    Args:
        form: what students are made of; by default the U-Net as it is.
        prediction, scaling_factor: what the U-Net predicts, and the factor of the latents that it was trained
            on, if they are known from elsewhere; they are compared with what the folder says.
        encodings: folder where encoded captions are kept between runs.

    Raises:
        ValueError: a library or part is missing, or parts do not fit each other; one sentence.
    """
    folder = PipelineFolder.open(path)
    scaling = folder.scaling(prediction)
    check_fit(folder, scaling_factor)
    unet = load_unet(folder)
    (form or Whole()).shape(unet)
    net = Denoiser(TextUNet(unet), scaling).eval().requires_grad_(False).to(device)
    space = text_space(folder, scaling)
    return TextTeacher(
        path,
        space,
        net,
        lambda: blank_net(folder, form or Whole(), scaling),
        load_text_encoder(folder, encodings, device),
        ScaledLatents(load_autoencoder(path / "vae", device), space.shape[-1]),
        folder.digest(*folder.kind.parts),
    )


def text_space(folder: PipelineFolder, scaling: EpsilonScaling) -> Space:
    """The latents of a pipeline, from its configs: scaled to unit variance, noised in timesteps."""
    config, grid, steps = folder.config("unet"), TimestepGrid(scaling), len(scaling.schedule)
    size = config["sample_size"]
    height, width = size if isinstance(size, list) else (size, size)
    return Space(
        shape=(config["in_channels"], height, width),
        sigma_min=scaling.sigma_min,
        sigma_max=scaling.sigma_max,
        sigma_data=1.0,
        text=folder.text,
        pooled=folder.pooled,
        unconditional=config.get("time_cond_proj_dim") is None,  # with an embedding it was distilled
        process=grid,
        law=KarrasIndexLaw(grid, 0, steps - 1, steps),
    )


def blank_net(folder: PipelineFolder, form: Form, scaling: EpsilonScaling) -> Denoiser:
    """The denoiser of a folder in a form, weights not set."""
    unet_class = library("diffusers").UNet2DConditionModel
    with torch.random.fork_rng(devices=[]):  # its first values are replaced
        unet = unet_class.from_config(folder.config("unet"))
    form.shape(unet)
    return Denoiser(TextUNet(unet), scaling)


def load_unet(folder: PipelineFolder) -> Any:
    """The U-Net, fp32."""
    unet_class = library("diffusers").UNet2DConditionModel
    with readable(folder.path, "unet"):
        unet, found = unet_class.from_pretrained(
            str(folder.path / "unet"),
            local_files_only=True,
            use_safetensors=True,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
        check_whole(found)
    return unet


def load_text_encoder(folder: PipelineFolder, encodings: Path | None, device: str) -> TextEncoder:
    """Tokenizers and text models, fp32."""
    towers = folder.kind.towers
    tokenizers = [load_tokenizer(folder, *tower) for tower in towers]
    models = [load_text_model(folder, part) for part, _ in towers]
    whole = LastStates(*models) if len(models) == 1 else TwoTowers(*models)
    return TextEncoder(
        tokenizers,
        whole.eval().requires_grad_(False).to(device),
        folder.digest(*(part for tower in towers for part in tower)),
        context=folder.text[0],
        zeros=folder.zeros,
        folder=encodings,
    )


def load_tokenizer(folder: PipelineFolder, tower: str, part: str) -> Any:
    """The tokenizer of a text encoder."""
    words, known = folder.path / part, folder.config(tower)["vocab_size"]
    with readable(folder.path, part):
        if not any((words / name).is_file() for name in ("vocab.json", "tokenizer.json")):
            raise ValueError("no vocab.json or tokenizer.json")  # the library would make one up
        tokenizer = library("transformers").CLIPTokenizer.from_pretrained(str(words), local_files_only=True)
        if len(tokenizer) > known:
            raise ValueError(f"{len(tokenizer)} words, the text encoder knows {known}")
    return tokenizer


def load_text_model(folder: PipelineFolder, part: str) -> Any:
    """A text encoder, of the one class that its part has."""
    class_ = getattr(library("transformers"), folder.kind.parts[part][1][0])
    with readable(folder.path, part), without_bars():
        model, found = class_.from_pretrained(
            str(folder.path / part),
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        check_whole(found)
    return model


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers' progress bars stay off the terminal, which is a command's own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def check_whole(found: dict[str, Any]) -> None:
    """Refuse weights that a library would make up; raises ValueError."""
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")


def library(name: str) -> Any:
    """diffusers or transformers.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ValueError(
            f"text-to-image models need {name}, which is not installed; pip install 'distillbench[text]'"
        ) from error
