"""How a suite's samples are drawn and scored: by rules of its own, or by a protocol that papers share."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from bench.errors import unknown
from bench.parts import Part
from metrics.protocols.record import Protocol as Law
from metrics.protocols.registry import shipped_protocols

SMOKE = "-smoke"  # ends the protocol id of a smoke run: shown, never published
SMOKE_REPEATS = 2


class OwnProtocol(Part):
    """What the rules of every embedded suite say; any change of a field is a new id."""

    id: str
    samples: int = Field(gt=0, description="samples per repeat")
    repeats: int = Field(gt=0, description="independent sample blocks")
    seed: int = Field(description="sampling seed of the first repeat; repeat r uses seed + r")
    curve_samples: int = Field(gt=0, description="samples of a curve point")
    curve_seed: int = Field(description="sampling seed of curve points, disjoint from the repeats")
    batch: int = Field(gt=0, description="sampling batch; results do not depend on it")
    extractor_sha256: str | None = Field(
        None, description="digest of the feature network, null if none is used"
    )

    @property
    def blocks(self) -> tuple[int, ...]:
        """Seed of each repeat."""
        return tuple(range(self.seed, self.seed + self.repeats))

    @property
    def aggregate(self) -> Literal["mean", "min"]:
        """What the headline is of the repeats."""
        return "mean"

    @property
    def tf32(self) -> bool:
        """Whether a GPU may use TF32 to make samples: no law of an embedded suite allows it."""
        return False

    def smoke(self, samples: int, batch: int | None) -> Self:
        """The same with few samples, under an id of its own."""
        sizes = {"samples": samples, "curve_samples": samples, "repeats": SMOKE_REPEATS}
        return self.model_copy(update=sizes | {"id": f"{self.id}{SMOKE}", "batch": batch or self.batch})


class Protocol(OwnProtocol):
    """The rules of an embedded suite of points, or of images by class."""

    evaluator: Literal["points", "images"]
    labels: Literal["balanced", "none"]

    @property
    def provisional(self) -> bool:
        """Whether a file that decides numbers is not pinned."""
        return self.evaluator == "images" and self.extractor_sha256 is None


class CaptionProtocol(OwnProtocol):
    """The rules of an embedded suite of captioned pictures."""

    evaluator: Literal["captions"]
    split: Literal["held-out", "compositional"] = Field(description="scenes whose captions are asked for")
    reference_samples: int = Field(gt=0, description="real pictures, of the split's seed 1")
    clip_sha256: str | None = Field(None, description="digest of the network of the CLIP score")

    @property
    def labels(self) -> str:
        """Captions, where other protocols have a law of labels."""
        return "captions"

    @property
    def provisional(self) -> bool:
        """Whether a file that decides numbers is not pinned."""
        return None in (self.extractor_sha256, self.clip_sha256)


class PublishedProtocol(Part):
    """A protocol of ``metrics.protocols`` by its id, with what a run needs besides.

    Attributes:
        law, clip_law: the protocols of ``id`` and ``clip``; they are looked up, not written in suite files.
    """

    id: str
    evaluator: Literal["published"]
    others: tuple[str, ...] = Field((), description="further protocols that --protocol may name")
    curve_samples: int = Field(gt=0, description="samples of a curve point")
    curve_seed: int = Field(description="sampling seed of curve points, disjoint from the repeats")
    batch: int = Field(gt=0, description="sampling batch; results do not depend on it")
    clip: str | None = Field(None, description="protocol of the CLIP score, taken of the very same images")
    law: Law
    clip_law: Law | None = None

    @model_validator(mode="before")
    @classmethod
    def look_up(cls, raw: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Find the law by its id, but for a protocol that another process sends."""
        if "law" in raw or "clip_law" in raw:
            if (info.context or {}).get("file"):
                raise ValueError("key 'law' is looked up by the id; leave it out")
            return raw
        for name in (raw.get("id", ""), *raw.get("others", ())):
            law = shipped_protocols().get(name)
            if law is None:
                raise ValueError(str(unknown("protocol", name, shipped_protocols())))
            if law.sampling is None or law.pixels is None or law.extractor is None:
                raise ValueError(f"protocol {name} does not score images in features")
        law, clip = shipped_protocols()[raw["id"]], raw.get("clip")
        if clip is not None and clip not in shipped_protocols():
            raise ValueError(str(unknown("protocol", clip, shipped_protocols())))
        return raw | {"law": law, "clip_law": None if clip is None else shipped_protocols()[clip]}

    @model_validator(mode="after")
    def same_images(self) -> PublishedProtocol:
        """Images of captions are scored against them too, by a protocol that draws them alike."""
        law, clip = self.law, self.clip_law
        if (self.labels == "captions") is not (clip is not None):
            raise ValueError("found captions or a protocol of the CLIP score (clip); expected both or none")
        if clip is None:
            return self
        assert law.sampling is not None
        if clip.clip is None or (clip.sampling, drawn(clip)) != (law.sampling, drawn(law)):
            raise ValueError(f"protocol {self.clip} does not score the images of {self.id} with a CLIP")
        if law.sampling.prompts is None or self.curve_samples > law.sampling.samples:
            raise ValueError(f"protocol {self.id} has no captions for {self.curve_samples} curve samples")
        return self

    @property
    def assets(self) -> tuple[str, ...]:
        """Ids of what a suite of captions is asked and scored with, but for the reference."""
        law, clip = self.law, self.clip_law
        assert law.sampling and law.sampling.prompts and law.extractor and clip and clip.clip
        return (law.sampling.prompts.id, law.extractor.asset.id, clip.clip.asset.id)

    @property
    def samples(self) -> int:
        """Samples per repeat."""
        assert self.law.sampling is not None
        return self.law.sampling.samples

    @property
    def repeats(self) -> int:
        """Independent sample blocks."""
        return self.law.repeats.count

    @property
    def blocks(self) -> tuple[int, ...]:
        """Seed, or first number, of each repeat."""
        assert self.law.sampling is not None
        return self.law.sampling.blocks

    @property
    def seed(self) -> int:
        """Of the first repeat."""
        return self.blocks[0]

    @property
    def labels(self) -> str:
        """Label law, where the data has classes."""
        assert self.law.sampling is not None
        return self.law.sampling.labels

    @property
    def aggregate(self) -> Literal["mean", "min"]:
        """What the headline is of the repeats."""
        return self.law.repeats.aggregate

    @property
    def tf32(self) -> bool:
        """Whether a GPU may use TF32 to make samples."""
        return self.law.precision.tf32

    @property
    def provisional(self) -> bool:
        """Whether a file that decides numbers is not pinned."""
        return any(law is not None and bool(law.provisional()) for law in (self.law, self.clip_law))

    def under(self, name: str) -> PublishedProtocol:
        """The same run under another of the suite's protocols; raises UsageError for any other name."""
        known = (self.id, *self.others)
        if name not in known:
            raise unknown("protocol", name, known, "--protocol")
        others = tuple(other for other in known if other != name)
        return self.model_copy(update={"id": name, "others": others, "law": shipped_protocols()[name]})

    def smoke(self, samples: int, batch: int | None) -> PublishedProtocol:
        """The same with few samples, under an id of its own."""
        assert self.law.sampling is not None
        blocks = self.blocks[:SMOKE_REPEATS]
        parts = {
            "sampling": self.law.sampling.model_copy(update={"samples": samples, "blocks": blocks}),
            "repeats": self.law.repeats.model_copy(update={"count": len(blocks)}),
        }
        sizes = {
            "curve_samples": samples,
            "batch": batch or self.batch,
            "law": self.law.model_copy(update=parts | {"id": f"{self.id}{SMOKE}"}),
            "clip_law": self.clip_law and self.clip_law.model_copy(update=parts),
        }
        return self.model_copy(update=sizes | {"id": f"{self.id}{SMOKE}"})


def drawn(law: Law) -> dict[str, Any]:
    """What images are before each protocol cuts and scales them for itself."""
    return {} if law.pixels is None else law.pixels.model_dump(exclude={"crop", "resize"})
