"""The parts of a diffusers pipeline folder of Stable Diffusion's kind, and whether they fit each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.diffusion.vp import PREDICTIONS, EpsilonScaling, VPSchedule

PARTS = {  # by name: library, classes that this reader knows
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
    "scheduler": ("diffusers", ()),  # any: only its noise rates and its prediction type are used
}
UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "requires_safety_checker")
NETWORKS = ("unet", "vae", "text_encoder")
PLAIN = (  # what a U-Net of this kind does not have, by the key of its config
    "addition_embed_type", "class_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "num_class_embeds",
)  # fmt: skip


@dataclass(frozen=True)
class PipelineFolder:
    """A folder whose parts are those of Stable Diffusion; ``open`` checks that."""

    path: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> PipelineFolder:
        """Read the index and check the parts.

        Raises:
            ValueError: no pipeline folder, or a part is missing or of another kind; one sentence.
        """
        index = read_json(path / "model_index.json", f"{path}: no diffusers pipeline folder")
        parts = {name: value for name, value in index.items() if isinstance(value, list) and value[0]}
        if missing := [name for name in PARTS if name not in parts or not (path / name).is_dir()]:
            raise ValueError(
                f"{path}: part {missing[0]!r} is missing; a text teacher needs {', '.join(PARTS)}"
            )
        for name, (library, class_) in parts.items():
            expected, classes = PARTS.get(name, ("", ()))
            if name in UNUSED:
                continue
            if library != expected or (classes and class_ not in classes):
                wanted = f"{expected}'s {' or '.join(classes)}" if expected else f"only {', '.join(PARTS)}"
                raise ValueError(f"{path}: part {name!r} is {library}'s {class_}, expected {wanted}")
        return cls(path, index)

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
        found = hashlib.sha256()
        for part in parts:
            for file in sorted((self.path / part).rglob("*")):
                record = file.suffix == ".json" and file.with_suffix(".safetensors").is_file()
                if file.suffix in (".json", ".safetensors", ".txt") and not record:
                    found.update(f"{file.relative_to(self.path).as_posix()}\n".encode())
                    with file.open("rb") as stream:
                        found.update(hashlib.file_digest(stream, "sha256").digest())
        return found.hexdigest()


def check_fit(folder: PipelineFolder, scaling_factor: float | None) -> None:
    """That U-Net, autoencoder and text encoder belong together.

    Args:
        scaling_factor: of the latents that the U-Net was trained on, if that is known.

    Raises:
        ValueError: channels, widths or scaling factor differ, or the U-Net takes more than captions.
    """
    unet, vae, text = (folder.config(part) for part in ("unet", "vae", "text_encoder"))
    where = folder.path
    if extra := [key for key in PLAIN if unet.get(key) is not None]:
        raise ValueError(
            f"{where}: the U-Net has {extra[0]} = {unet[extra[0]]!r}; expected captions alone (SD)"
        )
    latent = vae.get("latent_channels", 4)
    if (unet["in_channels"], unet["out_channels"]) != (latent, latent):
        found = f"{unet['in_channels']} to {unet['out_channels']}"
        raise ValueError(f"{where}: the U-Net maps {found} channels, the latents have {latent}")
    if unet["cross_attention_dim"] != text["hidden_size"]:
        raise ValueError(
            f"{where}: the U-Net reads captions of width {unet['cross_attention_dim']}, "
            f"the text encoder writes {text['hidden_size']}"
        )
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
