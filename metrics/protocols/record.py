"""The type of a protocol: everything that decides a number, in typed parts; what does not apply is null.

A protocol is named ``name@version`` and frozen: a change of a field is a new version. Only a digest that is
still null (the protocol is provisional) may be filled in later.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metric = Literal[
    "fid", "sfid", "fd_dinov2", "kid", "inception_score", "precision", "recall", "clip_score",
    "fd", "class_fd", "accuracy", "nearest", "copies", "swd", "energy", "within", "smallest_mode",
    "r_colour", "r_shape", "r_binding", "r_relation", "r_size", "r_place", "r_background",
    "latency", "throughput",
]  # fmt: skip
PROSE = frozenset({"id", "title", "used_by", "adapted"})  # fields that decide no number


class Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Asset(Part):
    """A file that a number rests on.

    Attributes:
        sha256: null until it is pinned.
        count: samples behind it; null where nobody states it.
    """

    id: str
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    count: int | None = Field(None, gt=0)

    def __str__(self) -> str:
        """Id, number of samples if stated, digest."""
        count = f", {self.count:,} samples" if self.count else ""
        return f"{self.id}{count}, sha256 {self.sha256 or 'not pinned'}"


class Sampling(Part):
    """How many samples, from which noise, under which conditions."""

    samples: int = Field(gt=0, description="samples of each repeat (N); exactly so many")
    seeds: Literal["number", "keyed"] = Field(
        description="number: one generator per sample, seeded with its number; "
        "keyed: noise keyed by (block seed, sample index, sampler step)"
    )
    blocks: tuple[int, ...] = Field(description="of each repeat the first number, or the block seed")
    labels: Literal["uniform", "empirical", "balanced", "captions", "none"] = Field(
        description="uniform: drawn per sample; empirical: drawn from the training set's list; "
        "balanced: sample i has class i mod K; captions: the prompt asset in order"
    )
    prompts: Asset | None = Field(None, description="captions, one a line")


class Pixels(Part):
    """What is scored: form of the images, rounding, and preparation before the extractor."""

    channels: Literal[1, 3] = 3
    size: int | None = Field(None, description="side that images must have; null: any, all alike")
    rounding: Literal["half-up", "truncate"] = Field(
        description="of x in [-1, 1]; half-up: floor(127.5 x + 128), truncate: floor(127.5 x + 127.5)"
    )
    rounding_decoded: Literal["half-up", "truncate"] | None = Field(
        None, description="of images that come out of an autoencoder, where it differs"
    )
    lossless: bool = Field(True, description="JPEG and other lossy files of samples are refused")
    crop: Literal["none", "centre-square", "centre-299"] = "none"
    resize: int | None = Field(None, description="side after the crop, by PIL's Lanczos on uint8")


class Extractor(Part):
    """The feature network: uint8 in."""

    name: str = Field(description="in ``metrics.features.registry``")
    asset: Asset
    layer: str = Field(description="which of its activations")
    dimension: int = Field(gt=0)
    resize: Literal["none", "tf1-bilinear-299", "pil-bicubic-299", "torch-bicubic-antialias-224"]


class Reference(Part):
    """What samples are compared with."""

    source: Literal["statistics", "images", "exact-draws"] = Field(
        description="statistics: mean and covariance in a file; images: features are computed; "
        "exact-draws: drawn from the known law, fresh for each repeat"
    )
    of: str = Field(description="the set, its split and its resize")
    assets: tuple[Asset, ...] = Field((), description="one of these, by data set")
    computable: bool = Field(
        False, description="statistics may also be computed from the images with the protocol's extractor"
    )


class Frechet(Part):
    """How moments become a distance."""

    divisor: Literal["N-1", "N"] = Field("N-1", description="of the samples' covariance")
    reference_divisor: Literal["N-1", "N"] = "N-1"
    root: Literal["eigenvalues"] = Field("eigenvalues", description="symmetric eigenvalues in fp64")


class Manifold(Part):
    """Precision and recall."""

    k: int = Field(gt=0, description="nearest neighbour that sets a radius")
    real: int = Field(gt=0, description="reference images")
    fake: int = Field(gt=0, description="samples")


class InceptionScore(Part):
    """Splits of the Inception Score, of samples in their order; the mean over them is shown."""

    splits: int = Field(gt=0)


class Clip(Part):
    """The CLIP score: mean cosine of image and text embeddings."""

    name: str = Field(description="in ``metrics.features.registry``")
    asset: Asset
    model: str = Field(description="name in open_clip")
    pretrained: str = Field(description="tag in open_clip")
    prefix: str = Field(description="before every caption")
    image_side: int | None = Field(None, description="side before CLIP's own preprocessing")
    context: int = Field(77, description="tokens, the rest is cut off")
    scale: float = Field(1.0, description="factor on the cosine")


class Timing(Part):
    """How time is measured; nothing here applies to samples that exist."""

    batch: int | Literal["largest power of two that fits"]
    warm_up: int = Field(gt=0, description="calls that are not timed")
    timed: int = Field(gt=0, description="calls that are")
    timer: Literal["host", "device-events"]
    shown: tuple[str, ...]
    stages: tuple[str, ...] = Field(description="listed apart where the pipeline has them")
    recorded: tuple[str, ...]


class Precision(Part):
    """Number formats."""

    network: str = Field(description="of the generator")
    state: str | None = Field(None, description="of the sampler's state")
    features: str | None = None
    statistics: str | None = None
    tf32: bool = Field(False, description="in the generator; features are never computed with it")


class Repeats(Part):
    """Independent repeats and the number that is the headline; every repeat's value is in the record."""

    count: int = Field(gt=0)
    aggregate: Literal["mean", "min"]
    shown: tuple[Literal["mean", "std", "ci95", "min"], ...] = Field((), description="beside the headline")


class Protocol(Part):
    """How a number is made; ``name@version``."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*@[1-9][0-9]*$")
    title: str = Field(description="one line")
    metrics: tuple[Metric, ...] = Field(min_length=1)
    sampling: Sampling | None = None
    pixels: Pixels | None = None
    extractor: Extractor | None = None
    reference: Reference | None = None
    frechet: Frechet | None = None
    manifold: Manifold | None = None
    inception_score: InceptionScore | None = None
    clip: Clip | None = None
    timing: Timing | None = None
    repeats: Repeats
    weights: str = Field(description="whose weights are scored: the averaging rule, and no choice by score")
    precision: Precision
    used_by: tuple[str, ...] = Field((), description="BibTeX keys of papers that report under it")
    adapted: tuple[str, ...] = Field((), description="where it departs from those papers' programs")

    @model_validator(mode="after")
    def consistent(self) -> Protocol:
        """One block of noise for each repeat, and either sampling or timing."""
        if (self.sampling is None) == (self.timing is None):
            raise ValueError("expected either 'sampling' or 'timing'")
        if self.sampling and len(self.sampling.blocks) != self.repeats.count:
            found = f"{len(self.sampling.blocks)} sampling.blocks for {self.repeats.count} repeats"
            raise ValueError(f"{found}; expected one each")
        return self

    def fields(self) -> dict[str, Any]:
        """Every field that decides numbers by dotted name, such as ``sampling.samples``; nulls left out."""
        found: dict[str, Any] = {}
        for key in type(self).model_fields:
            if key not in PROSE:
                _flatten(key, getattr(self, key), found)
        return found

    def assets(self) -> tuple[Asset, ...]:
        """All files that a number under this protocol rests on."""
        found = [*(self.reference.assets if self.reference else ())]
        found += [part.asset for part in (self.extractor, self.clip) if part]
        return tuple(found + ([self.sampling.prompts] if self.sampling and self.sampling.prompts else []))

    def provisional(self) -> str:
        """What keeps it from being final, empty if nothing does: files without a digest, or none named."""
        loose = [asset.id for asset in self.assets() if asset.sha256 is None]
        if self.reference and self.reference.source != "exact-draws" and not self.reference.assets:
            loose.append("a reference")
        return f"no digest is pinned for {', '.join(dict.fromkeys(loose))}" if loose else ""


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    """Add a value under its dotted name; an asset is one value."""
    if isinstance(value, BaseModel) and not isinstance(value, Asset):
        for key in type(value).model_fields:
            _flatten(f"{name}.{key}", getattr(value, key), found)
    elif isinstance(value, tuple):
        if value:
            found[name] = [str(each) if isinstance(each, Asset) else each for each in value]
    elif value is not None:
        found[name] = str(value) if isinstance(value, Asset) else value


def differences(a: Protocol, b: Protocol) -> list[tuple[str, Any, Any]]:
    """Fields that differ, as (name, value in a, value in b), None where a protocol has no such field.

    The ids do not count: two ids that agree in every field give an empty list.
    """
    first, second = a.fields(), b.fields()
    names = [*first, *(name for name in second if name not in first)]
    pairs = ((name, first.get(name), second.get(name)) for name in names)
    return [(name, x, y) for name, x, y in pairs if x != y]
