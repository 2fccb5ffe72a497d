"""The parts of a diffusers pipeline folder of Stable Diffusion's kinds, and whether they fit each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.diffusion.cond import SIZES
from baselines.diffusion.vp import PREDICTIONS, EpsilonScaling, VPSchedule

TOKENIZERS = ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast"))
UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "requires_safety_checker")
PLAIN = (  # what no U-Net of these kinds has, by the key of its config
    "class_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "num_class_embeds",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What a pipeline is made of.

    Attributes:
        parts: by name, library and classes that this reader knows.
        towers: text encoders, each with its tokenizer, in the order in which the U-Net reads them.
        addition: ``addition_embed_type`` of its U-Net.
    """

    name: str
    parts: Mapping[str, tuple[str, tuple[str, ...]]]
    towers: tuple[tuple[str, str], ...]
    addition: str | None


PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": TOKENIZERS,
    "scheduler": ("diffusers", ()),  # any: only its noise rates and its prediction type are used
}
SECOND = {"text_encoder_2": ("transformers", ("CLIPTextModelWithProjection",)), "tokenizer_2": TOKENIZERS}
SD = Kind("SD", PARTS, (("text_encoder", "tokenizer"),), None)
SDXL = Kind("SDXL", {**PARTS, **SECOND}, (*SD.towers, ("text_encoder_2", "tokenizer_2")), "text_time")


@dataclass(frozen=True)
class PipelineFolder:
    """A folder whose parts are those of Stable Diffusion or SDXL; ``open`` checks that."""

    path: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> PipelineFolder:
        """Read the index and check the parts.

        Raises:
            ValueError: no pipeline folder, or a part is missing or of another kind; one sentence.
        """
        index = read_json(path / "model_index.json", f"{path}: no diffusers pipeline folder")
        folder = cls(path, index)
        known = folder.kind.parts
        parts = {name: value for name, value in index.items() if isinstance(value, list) and value[0]}
        if missing := [name for name in known if name not in parts or not (path / name).is_dir()]:
            raise ValueError(
                f"{path}: part {missing[0]!r} is missing; a text teacher needs {', '.join(known)}"
            )
        for name, (library, class_) in parts.items():
            expected, classes = known.get(name, ("", ()))
            if name in UNUSED:
                continue
            if library != expected or (classes and class_ not in classes):
                wanted = f"{expected}'s {' or '.join(classes)}" if expected else f"only {', '.join(known)}"
                raise ValueError(f"{path}: part {name!r} is {library}'s {class_}, expected {wanted}")
        return folder

    @property
    def kind(self) -> Kind:
        """By the class of the pipeline."""
        return SDXL if str(self.index.get("_class_name", "")).startswith("StableDiffusionXL") else SD

    @property
    def zeros(self) -> bool:
        """Whether zeros stand for no caption, and not the encoded empty prompt."""
        return self.kind is SDXL and bool(self.index.get("force_zeros_for_empty_prompt", True))

    @property
    def text(self) -> tuple[int, int]:
        """Tokens and width of an encoded caption, those of several text encoders side by side."""
        towers = [self.config(tower) for tower, _ in self.kind.towers]
        return towers[0]["max_position_embeddings"], sum(tower["hidden_size"] for tower in towers)

    @property
    def pooled(self) -> int:
        """Width of a caption as one vector; 0 where the U-Net reads none."""
        return 0 if self.kind.addition is None else int(self.config("text_encoder_2")["projection_dim"])

    def config(self, part: str) -> dict[str, Any]:
        """The config of a part."""
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        return read_json(self.path / part / file, f"{self.path}: part {part!r} has no {file}")

    def scaling(self, prediction: str | None = None) -> EpsilonScaling:
        """Levels and prediction of the network, from the scheduler's config.

        Args:
            prediction: what the network is known to predict; else the U-Net's own config may say it.

        Raises:
            ValueError: unknown rates or prediction, or a prediction that contradicts the U-Net's.
        """
        where, config = f"{self.path}: scheduler", self.config("scheduler")
        stated = config.get("prediction_type", "epsilon")
        known = prediction or self.config("unet").get("prediction_type", stated)
        if stated not in PREDICTIONS:
            raise ValueError(
                f"{where}: prediction_type is {stated!r}, expected one of {', '.join(PREDICTIONS)}"
            )
        if stated != known:
            raise ValueError(
                f"{where}: prediction_type is {stated!r}, but the U-Net predicts {known!r}; "
                "correct the one that is wrong"
            )
        try:
            return PREDICTIONS[stated](VPSchedule.from_config(config))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def digest(self, *parts: str) -> str:
        """sha256 over names and contents of the configs, weights and vocabularies of some parts.

        The record of a training beside its weights decides nothing and stays out.
        """
        found = hashlib.sha256(b"zeros for no caption\n" if self.zeros else b"")
        for part in parts:
            for file in sorted((self.path / part).rglob("*")):
                record = file.suffix == ".json" and file.with_suffix(".safetensors").is_file()
                if file.suffix in (".json", ".safetensors", ".txt") and not record:
                    found.update(f"{file.relative_to(self.path).as_posix()}\n".encode())
                    with file.open("rb") as stream:
                        found.update(hashlib.file_digest(stream, "sha256").digest())
        return found.hexdigest()


def check_fit(folder: PipelineFolder, scaling_factor: float | None) -> None:
    """That U-Net, autoencoder and text encoders belong together.

    Args:
        scaling_factor: of the latents that the U-Net was trained on, if that is known.

    Raises:
        ValueError: channels, widths or scaling factor differ, or the U-Net takes more than captions.
    """
    unet, vae, where = folder.config("unet"), folder.config("vae"), folder.path
    check_reading(folder, unet)
    latent = vae.get("latent_channels", 4)
    if (unet["in_channels"], unet["out_channels"]) != (latent, latent):
        found = f"{unet['in_channels']} to {unet['out_channels']}"
        raise ValueError(f"{where}: the U-Net maps {found} channels, the latents have {latent}")
    factor = vae.get("scaling_factor", 0.18215)
    if scaling_factor is not None and abs(factor / scaling_factor - 1) > 1e-6:
        raise ValueError(
            f"{where}: the autoencoder scales latents by {factor:g}, "
            f"the U-Net was trained on latents scaled by {scaling_factor:g}; take the one of its training"
        )
    if strange := [
        key for key in ("shift_factor", "latents_mean", "latents_std") if vae.get(key) is not None
    ]:
        raise ValueError(f"{where}: the autoencoder has a {strange[0]}; expected a scaling factor alone (SD)")


def check_reading(folder: PipelineFolder, unet: Mapping[str, Any]) -> None:
    """That a U-Net reads what the text encoders of its kind of pipeline write; see ``check_fit``."""
    where, kind, (context, width) = folder.path, folder.kind, folder.text
    expected = {**dict.fromkeys(PLAIN), "addition_embed_type": kind.addition}
    if extra := [key for key, value in expected.items() if unet.get(key) != value]:
        wanted = "captions alone (SD)" if kind.addition is None else f"{expected[extra[0]]!r} ({kind.name})"
        raise ValueError(f"{where}: the U-Net has {extra[0]} = {unet.get(extra[0])!r}; expected {wanted}")
    if unet["cross_attention_dim"] != width:
        raise ValueError(
            f"{where}: the U-Net reads captions of width {unet['cross_attention_dim']}, "
            f"the text encoder{'s write' if len(kind.towers) > 1 else ' writes'} {width}"
        )
    contexts = {folder.config(tower)["max_position_embeddings"] for tower, _ in kind.towers}
    if contexts != {context}:
        lengths = " and ".join(map(str, sorted(contexts)))
        raise ValueError(f"{where}: the text encoders read {lengths} tokens; expected one length")
    if kind.addition is not None:
        found, wide = unet.get("projection_class_embeddings_input_dim"), unet.get("addition_time_embed_dim")
        if found != (made := folder.pooled + SIZES * (wide or 0)):
            raise ValueError(
                f"{where}: the U-Net reads {found} numbers beside the timestep, pooled captions of width "
                f"{folder.pooled} and {SIZES} sizes make {made}"
            )


def read_json(path: Path, complaint: str) -> dict[str, Any]:
    """A JSON object; ValueError with the complaint if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{complaint} ({path.name}: {' '.join(str(error).split())[:100]})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{complaint} ({path.name} is no JSON object)")
    return found


@contextmanager
def readable(folder: Path, part: str) -> Iterator[None]:
    """Whatever a library says of a part that it cannot read becomes one ValueError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}: part {part!r} cannot be read from safetensors ({reason})") from error
