"""The parts of the suite ``shapes`` that are trained, in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from baselines.datasets.byte_pairs import open_clip_file
from baselines.datasets.scenes import COMPOSITIONAL, HELD_OUT
from baselines.teachers.registry import WEIGHTS
from baselines.teachers.resumable import Training
from baselines.teachers.shapes import (
    TEXT_FILE,
    UNET_FILE,
    VAE_FILE,
    config_of,
    fixed_files,
    libraries,
    scene_merges,
)
from baselines.teachers.shapes_unet import LatentTraining
from baselines.teachers.shapes_vae import VAETraining, measured_scaling
from bench.atomic import write_atomic
from bench.scorers import ClipTraining, FeaturesTraining, trust
from bench.teaching import Lesson, Trained, teach
from metrics.features import shapes as features
from metrics.features import shapes_clip as clip

NAME = "shapes"
TRUSTED_ON = 400  # held-out scenes of the trust report


def part_file(part: str, out: Path | None) -> Path:
    """Folder of a part: of the pipeline, or of the networks that score."""
    if part in ("vae", "unet"):
        return (WEIGHTS if out is None else out) / NAME
    return clip.FOLDER if out is None else out


def write_vocabulary(work: Path, out: Path | None) -> list[Path]:
    """Byte pairs for both tokenizers, and the parts of the pipeline that are not trained."""
    folder, scorers = part_file("vae", out), part_file("clip", out)
    for name, content in fixed_files().items():
        write_atomic(folder / name, content)
    write_atomic(scorers / clip.BYTE_PAIRS.name, open_clip_file(scene_merges()))
    return [folder / "tokenizer" / "vocab.json", scorers / clip.BYTE_PAIRS.name]


def _finish_vae(training: Training) -> Trained:
    vae = cast(Any, training.average)
    half = vae.half().float()  # what is stored is what is measured
    vae.register_to_config(scaling_factor=measured_scaling(half, training.recipe.seed))
    report = {"scaling_factor": vae.config.scaling_factor, "held_out_loss": training.held_out_loss()}
    return Trained({VAE_FILE: vae}, {"vae/config.json": config_of(vae)}, report, half=True)


def _finish_unet(training: Training) -> Trained:
    average = cast(Any, training.average)
    unet, text = average["unet"], average["text_encoder"]
    beside: dict[str, str | bytes] = {
        "unet/config.json": config_of(unet),
        "text_encoder/config.json": config_of(text),
    }
    return Trained({UNET_FILE: unet, TEXT_FILE: text}, beside, half=True)


def _finish_clip(training: Training) -> Trained:
    assert isinstance(training, ClipTraining)
    network = cast(Any, training.average)["clip"].half().float()
    scored = clip.shapes_clip_features(network, training.byte_pairs, "")
    reports = {split.name: trust(scored, split, TRUSTED_ON) for split in (HELD_OUT, COMPOSITIONAL)}
    return Trained({clip.WEIGHTS.name: network}, report={"trust": reports}, half=True)


def _finish_features(training: Training) -> Trained:
    assert isinstance(training, FeaturesTraining)
    return Trained({features.WEIGHTS.name: training.finished()}, half=True)


Begin = Callable[[Path], Training]  # folder of the part -> a training ready to step
PARTS: dict[str, tuple[Begin, Callable[[Training], Trained], int]] = {
    "vae": (lambda folder: VAETraining(), _finish_vae, 250),
    "unet": (LatentTraining, _finish_unet, 100),
    "clip": (lambda folder: ClipTraining(folder / clip.BYTE_PAIRS.name), _finish_clip, 250),
    "features": (lambda folder: FeaturesTraining(), _finish_features, 500),
}


def lesson(part: str, folder: Path) -> Lesson:
    """One part's training; what it needs is read from ``folder``."""
    begin, finish, every = PARTS[part]
    return Lesson(
        f"{NAME}-{part}",
        partial(begin, folder),
        finish,
        f"bench teach --suite {NAME} --part {part}",
        every,
    )


def teach_part(part: str, work: Path, out: Path | None) -> list[Path]:
    """Train one part to its end, resuming from ``work``.

    Raises:
        ValueError: the text extra is not installed, or a part that it needs is not trained yet.
    """
    libraries()
    folder = part_file(part, out)
    return teach(lesson(part, folder), work, folder)


SHAPES_PARTS: dict[str, Callable[[Path, Path | None], list[Path]]] = {
    "vocabulary": write_vocabulary,
    **{part: partial(teach_part, part) for part in PARTS},
}
