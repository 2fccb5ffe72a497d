"""Parts of a suite file that name published models: network, files, students, the size of a smoke run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metrics.protocols.record import Protocol as Law

PLACES = (".", "/", "~")  # a file of one's own begins so; anything else is the id of an asset


class Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Part):
    """The network of a published teacher, so that its cost is known without its weights."""

    network: Literal["SongUNet", "DhariwalUNet", "EDM2UNet"]
    resolution: int = Field(gt=0, description="side of the network's input, pixels or latents")
    channels: int = Field(3, gt=0)
    classes: int = Field(0, ge=0, description="0: unconditional")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of activations, on a GPU")
    options: dict[str, Any] = Field(description="the other arguments of the network")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one sample."""
        return (self.channels, self.resolution, self.resolution)


class Pipeline(Part):
    """A text-to-image teacher: a diffusers pipeline folder, its data, the guidance under which it teaches."""

    folder: str = Field(description="one that ships, by its suite's name; else an asset, or a path")
    data: str = Field(
        description="captioned pictures that trainings draw from: 'shapes', or a file of captions alone"
    )
    pictures: str | None = Field(
        None, description="folder of pictures with metadata.jsonl, for methods that learn from pictures"
    )
    guidance: float = Field(ge=1, description="guidance scale of the teacher and of samples; 1: unguided")
    learned: tuple[float, float] | None = Field(
        None,
        description="range of the scales that students learn, as an input; null: the one above, and none",
    )
    rank: int | None = Field(None, gt=0, description="students are changes of this rank (LoRA); null: whole")
    prediction: str | None = Field(None, description="what the U-Net predicts, if known from elsewhere")
    scaling_factor: float | None = Field(None, gt=0, description="of the latents of the U-Net's training")

    def placed(self, folder: Path) -> Pipeline:
        """The same with paths made absolute from a folder."""
        paths = {key: placed(getattr(self, key), folder) for key in ("folder", "data", "pictures")}
        return self.model_copy(update=paths)

    @model_validator(mode="after")
    def one_form(self) -> Pipeline:
        """A low-rank change has no input for the scale."""
        if self.learned and self.rank:
            raise ValueError(
                "found learned and rank; a low-rank student learns one scale: expected one of both"
            )
        check_scales(self.learned)
        return self


class Files(Part):
    """What a suite of published models reads: ids of assets, or paths (from the suite file's folder)."""

    teacher: str = Field(description="weights of the teacher")
    data: str = Field(description="training data: EDM's zip, a folder of images, or EDM2's latents")
    references: tuple[str, ...] = Field(
        (), description="statistics of real images; a protocol takes the first it lists, else the data's"
    )
    extractor: str | None = Field(None, description="in place of the feature network that a protocol names")
    decoder: str | None = Field(None, description="folder of the autoencoder, where samples are latents")

    def placed(self, folder: Path) -> Files:
        """The same with paths made absolute from a folder."""
        found = {key: placed(value, folder) for key, value in self.model_dump().items()}
        return Files(**found)

    def needed(self, law: Law) -> tuple[str, ...]:
        """All files under a protocol, by name."""
        measured = self.extractor_for(law), self.reference_for(law)
        found = (self.teacher, *measured, self.data, self.decoder)
        return tuple(name for name in found if name is not None)

    def extractor_for(self, law: Law) -> str:
        """Weights of the feature network of a protocol."""
        assert law.extractor is not None
        return self.extractor or law.extractor.asset.id

    def reference_for(self, law: Law) -> str | None:
        """Statistics for a protocol; None if they are computed from the data.

        A file of one's own serves any protocol, since it is checked when it is read.
        """
        listed = [asset.id for asset in law.reference.assets] if law.reference else []
        return next((name for name in self.references if is_place(name) or name in listed), None)


class PublishedStudent(Part):
    """Weights of a student that its authors released: loaded and measured, never trained here."""

    method: str = Field(description="whose sampler draws from it")
    weights: str = Field("published", description="its name in ``method[weights=NAME]``")
    file: str = Field(description="asset or path")
    steps: tuple[int, ...] = Field((1,), description="step counts that it serves")
    options: dict[str, Any] = Field(default_factory=dict, description="of the sampler: the method's Config")
    guidance: float | None = Field(
        None, ge=1, description="scale, for students that take it as an input; null: they take none"
    )
    timestep: int | None = Field(
        None,
        ge=0,
        description="at which a one-step student is asked; null: the last, from which samples begin",
    )
    note: str = Field("", description="what is known of its training")

    @model_validator(mode="after")
    def one_step(self) -> PublishedStudent:
        """A timestep of its own is that of a single step."""
        if self.timestep is not None and self.steps != (1,):
            raise ValueError(f"found timestep and steps {list(self.steps)}; expected steps = [1]")
        return self

    @property
    def prompted(self) -> bool:
        """Whether only a student of a text-to-image model is asked so."""
        return self.guidance is not None or self.timestep is not None

    @property
    def label(self) -> str:
        """As it is named on the command line."""
        return f"{self.method}[weights={self.weights}]"


class Smoke(Part):
    """Sizes of a run that only checks the path."""

    work: int = Field(20_000, gt=0, description="units of each training")
    samples: int = Field(400, gt=0, description="of each block")
    batch: int | None = Field(None, gt=0, description="of training and sampling; null: the suite's")
    options: dict[str, dict[str, Any]] = Field(
        {"dmd": {"pairs": 16, "pair_steps": 2}}, description="by method, where the preset's would not fit"
    )

    def shrunk(self, name: str, preset: Any) -> Any:
        """The preset of a method, in this size."""
        options = {**preset.options, **self.options.get(name, {})}
        return preset.model_copy(update={"batch": self.batch or preset.batch, "options": options})


class Resources(Part):
    """What a job of one cell asks a cluster for."""

    gpus: int = Field(0, ge=0)
    cpus: int = Field(2, gt=0)
    memory_gib: int = Field(8, gt=0)
    minutes: int = Field(240, gt=0, description="time limit; a job that reaches it goes on in another")

    @staticmethod
    def usual(*, gpu: bool) -> Resources:
        """Where a suite declares nothing: a GPU for published models, two CPUs for small ones."""
        return Resources(gpus=1, cpus=8, memory_gib=64, minutes=1440) if gpu else Resources()


def check_scales(learned: tuple[float, float] | None) -> None:
    """Raise ValueError for guidance scales of students that are no range."""
    if learned and not 1 <= learned[0] < learned[1]:
        raise ValueError(f"found learned = {list(learned)}; expected a range of scales from 1 upwards")


def is_place(name: str) -> bool:
    """Whether a file is named by its path, not by the id of an asset."""
    return name.startswith(PLACES)


def placed(value: Any, folder: Path) -> Any:
    """Paths made absolute; ids of assets, and nothing, as they are."""
    if isinstance(value, tuple | list):
        return tuple(placed(one, folder) for one in value)
    if value is None or not is_place(value):
        return value
    return str((folder / Path(value).expanduser()).resolve())
