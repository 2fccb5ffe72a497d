"""The teachers that ship with the embedded suites: architecture, training, weights with digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors.torch import load as load_safetensors
from torch import Tensor

from baselines.datasets.digits import load_digits
from baselines.datasets.mixtures import MIXTURES
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.distiller import Space
from baselines.teachers.digits import digits_denoiser, digits_training
from baselines.teachers.mixture import ExactMixture, mixture_denoiser, mixture_training
from baselines.teachers.training import DenoiserTraining

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"

Draw = Callable[[int, int, int], tuple[Tensor, Cond]]  # (seed, batch number, size) -> clean data, condition


class WeightsError(ValueError):
    """A weight file is missing or does not have the digest that its record states."""


def unguided(net: Denoiser) -> None:
    """Students learn the network itself."""


@dataclass(frozen=True, kw_only=True)
class TeacherModel:
    """A teacher and its data: how to build its network, weights not yet set, and how to draw.

    Attributes:
        draw: of the data; draw_conditions: what data-free methods are given, by default the same.
        exact: closed form, where there is one.
        guide: what students learn under guidance from the network (None: the network itself).
    """

    space: Space
    build: Callable[[], Denoiser]
    draw: Draw
    draw_conditions: Draw | None = None
    exact: Callable[[], Denoiser] | None = None
    guide: Callable[[Denoiser], Denoiser | None] = unguided

    def draw_for(self, *, data_free: bool) -> Draw:
        """The data iterator of a method."""
        return self.draw_conditions if data_free and self.draw_conditions else self.draw


@dataclass(frozen=True, kw_only=True)
class TeacherEntry(TeacherModel):
    """A teacher that ships, with its training."""

    training: Callable[[], DenoiserTraining]


def _digits_draw(seed: int, batch: int, size: int) -> tuple[Tensor, Cond]:
    return load_digits()[0].batch(seed, batch, size)


def _mixture(name: str) -> TeacherEntry:
    mixture = MIXTURES[name]()
    return TeacherEntry(
        space=Space((mixture.dimension,)),
        build=partial(mixture_denoiser, mixture.dimension),
        training=partial(mixture_training, mixture),
        draw=mixture.batch,
        exact=partial(ExactMixture, mixture),
    )


TEACHERS: dict[str, Callable[[], TeacherEntry]] = {
    "gmm2d": partial(_mixture, "gmm2d"),
    "gmm2d-grid": partial(_mixture, "gmm2d-grid"),
    "digits": lambda: TeacherEntry(
        space=Space((1, 8, 8), n_classes=10),
        build=digits_denoiser,
        training=digits_training,
        draw=_digits_draw,
    ),
}


def weights_path(name: str, folder: Path = WEIGHTS) -> Path:
    """Where a teacher's weights lie; the record of their training lies beside them as ``.json``."""
    return folder / f"{name}.safetensors"


def load_weights(denoiser: Denoiser, path: Path) -> str:
    """Load weights strictly after checking their sha256 against the record beside them; returns the digest.

    Raises:
        WeightsError: a file is missing, or the digest found is not the one expected (both are shown).
    """
    record = path.with_suffix(".json")
    for file in (path, record):
        if not file.is_file():
            raise WeightsError(f"{file}: weight file is missing; make it with 'bench teach'")
    blob = path.read_bytes()
    found, expected = hashlib.sha256(blob).hexdigest(), json.loads(record.read_text())["sha256"]
    if found != expected:
        raise WeightsError(
            f"{path}: damaged weights: sha256 found {found}, expected {expected} (from {record.name}); "
            "restore the file or train it again with 'bench teach'"
        )
    denoiser.load_state_dict(load_safetensors(blob))
    return found


def load_teacher(name: str, folder: Path = WEIGHTS) -> tuple[TeacherEntry, Denoiser, str]:
    """Entry, network with its weights (eval mode, frozen), and the sha256 of the weights."""
    entry = TEACHERS[name]()
    denoiser = entry.build()
    digest = load_weights(denoiser, weights_path(name, folder))
    return entry, denoiser.eval().requires_grad_(False), digest
