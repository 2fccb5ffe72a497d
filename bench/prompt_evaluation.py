"""Evaluation of published text-to-image models: FID and CLIP score of the very same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain, islice
from itertools import count as count_from
from typing import cast

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.images import to_model
from baselines.teachers.stable_diffusion import TextTeacher
from bench.assets.places import cache_root
from bench.caption_evaluation import PicturesOfCaptions
from bench.errors import AssetError, unknown
from bench.evaluator import InParts
from bench.feature_network import feature_network
from bench.files import find_file
from bench.image_evaluation import DecodedImages
from bench.kept_statistics import kept_statistics
from bench.store import digest
from bench.suite import Suite
from bench.suite_protocol import SMOKE, PublishedProtocol
from bench.text_models import open_text
from metrics.captions import read_captions
from metrics.clip_score import embed_pairs
from metrics.features.clip import ClipFeatures
from metrics.features.extractor import Extractor
from metrics.measure import Measure, Rows, Seen, load_reference, measures_of, merge, show, values_of
from metrics.moments import Moments
from metrics.protocols.record import Clip, Pixels, Protocol
from metrics.protocols.record import Extractor as ExtractorLaw
from metrics.reference import Reference, is_statistics
from metrics.samples.preparation import prepared_planes
from metrics.samples.source import ImageSource, open_images


@dataclass(frozen=True)
class Judges:
    """Captions, feature network, reference and CLIP of a protocol; shared by all that it judges.

    Attributes:
        law, clip_law: of the FID, and of the CLIP score.
        reference: real pictures or their statistics, by name (``bench.files``).
    """

    law: Protocol
    clip_law: Protocol
    reference: str
    device: str

    @cached_property
    def captions(self) -> list[str]:
        """The protocol's list, its digest checked."""
        assert self.law.sampling and self.law.sampling.prompts
        try:
            return read_captions(find_file(self.law.sampling.prompts.id), self.law)
        except ValueError as error:
            raise AssetError(str(error)) from error

    @cached_property
    def captions_sha256(self) -> str:
        """Digest of the captions in their order, whatever file they came in."""
        return digest(self.captions)

    @cached_property
    def extractor(self) -> Extractor:
        """The feature network of the FID."""
        assert self.law.extractor is not None
        return self._network(self.law.extractor)

    @property
    def clip_part(self) -> Clip:
        """What the protocol says of the CLIP."""
        assert self.clip_law.clip is not None
        return self.clip_law.clip

    @cached_property
    def clip(self) -> ClipFeatures:
        """The network of the CLIP score."""
        return cast(ClipFeatures, self._network(self.clip_part))

    def _network(self, part: ExtractorLaw | Clip) -> Extractor:
        path = find_file(part.asset.id)
        return feature_network(self.law.id, part.name, path, part.asset.sha256, self.device)

    @property
    def pixels(self) -> Pixels:
        """How pictures are rounded, cut and scaled."""
        assert self.law.pixels is not None
        return self.law.pixels

    @cached_property
    def real(self) -> Reference:
        """Statistics of the real pictures, computed once and kept if they are not given."""
        path = find_file(self.reference)
        try:
            if not is_statistics(path):
                path = kept_statistics(path, self.law, self.extractor)
            found = load_reference(path, self.law, self.extractor)
        except ValueError as error:
            raise AssetError(str(error)) from error
        assert self.law.reference is not None
        wanted = {asset.count for asset in self.law.reference.assets}
        count = found.moments["pool"].count
        if wanted and None not in wanted and count not in wanted:
            expected = " or ".join(f"{one:,}" for one in wanted)
            raise AssetError(f"{path}: statistics of {count:,} pictures, {self.law.id} has {expected}")
        return found

    def photographs(self, count: int, law: Pixels) -> Iterator[np.ndarray]:
        """Real pictures one at a time, uint8 ``[1, 3, H, W]``; fewer than the count come again."""
        path = find_file(self.reference)
        if is_statistics(path):
            raise AssetError(f"{path}: holds statistics, expected real pictures")
        found = open_images(path, law, reference=True)
        return islice(chain.from_iterable(found.batches(1) for _ in count_from(0)), count)

    def measures(self) -> list[Measure]:
        """Of pictures, not fed yet."""
        few = self.law.id.endswith(SMOKE)  # so few samples that no covariance has full rank
        return measures_of(self.law, self.real, allow_singular=few)

    def seen(self, pictures: ImageSource, start: int) -> list[Seen]:
        """What the measures see, and the cosines, in one pass; the first picture is that of a caption.

        Pictures are as they were made; both protocols cut and scale them, each for itself.
        """
        measures, cosines = self.measures(), Rows()
        asked, batches = self.captions[start : start + pictures.count], self._shown(pictures, measures)
        cosines.update(embed_pairs(self.clip, batches, asked, self.clip_part.prefix).cosines())
        return [*(each.seen for each in measures), cosines]

    def _shown(self, pictures: ImageSource, measures: Sequence[Measure]) -> Iterator[Tensor]:
        """Pictures are shown to the measures, and given on as the CLIP sees them."""
        law = self.clip_law.pixels
        assert law is not None
        for batch in pictures.batches():
            ready = np.stack([prepared_planes(one, self.pixels) for one in batch])
            show(ready, pictures.path, self.extractor, measures)
            same = law == self.pixels
            yield torch.from_numpy(ready if same else np.stack([prepared_planes(one, law) for one in batch]))

    def scores(self, parts: Sequence[list[Seen]]) -> dict[str, float]:
        """FID and CLIP score."""
        measures, cosines = self.measures(), Rows()
        for *seen, fits in parts:
            merge(measures, seen)
            cosines.merge(cast(Rows, fits))
        fit = self.clip_part.scale * cosines.whole()
        return {**values_of(self.law, measures), "clip_score": float(fit.mean())}


judges = cache(Judges)  # networks are loaded once, whatever students take as an input


@dataclass(frozen=True)
class PromptedEvaluator(InParts, PicturesOfCaptions):
    """Pictures of a published list of captions.

    Samples are stored as latents and decoded a few at a time when they are scored: 30,000 pictures of 512
    pixels have 24 GB, their latents 2.
    """

    judges: Judges

    @cached_property
    def model(self) -> TextTeacher:
        """The pipeline; encoded captions are kept in the cache, since every row asks for them again."""
        found = open_text(self.pipeline, self.device)
        folder = cache_root() / "encodings" / found.text.sha256[:32]
        return replace(found, text=found.text.kept_in(folder))

    @property
    def extractor_sha256(self) -> str | None:
        return self.judges.extractor.sha256

    @property
    def reference_sha256(self) -> str | None:
        return self.judges.real.sha256

    @property
    def others_sha256(self) -> Mapping[str, str | None]:
        return {"clip": self.judges.clip.sha256, "captions": self.judges.captions_sha256}

    def drawn_from(self, *, anchor: bool) -> Mapping[str, str | None]:
        if anchor:
            return {"pictures": self.reference_sha256}
        return {"captions": self.judges.captions_sha256}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Captions that were cut, and by which CLIP the score is."""
        own, part, asked = self.judges.clip, self.judges.clip_part, self.judges.captions
        encoder = self.model.text
        cut = sum(encoder.tokens(caption).cut for caption in asked)
        late = own.cut([part.prefix + caption for caption in asked])
        return (
            f"of {len(asked)} captions the text encoder cut {cut} to {encoder.context} tokens, "
            f"the CLIP of the score {late} to {own.context}",
            f"clip_score by {self.judges.clip_law.id}: {part.model} {part.pretrained}, sha256 {own.sha256}",
        )

    def captions(self, indices: range, seed: int = 0) -> list[str]:
        return self.judges.captions[indices.start : indices.stop]

    def pixels(self, x: Tensor) -> np.ndarray:
        return x.float().cpu().numpy()

    def pictures(self, samples: np.ndarray, pixels: Pixels) -> ImageSource:
        """Stored samples as pictures."""
        fast = self.judges.law.precision.tf32
        return DecodedImages(samples, self.model.latents.decode, pixels, fast=fast)

    def seen(self, samples: np.ndarray, start: int) -> list[Seen]:
        as_made = self.judges.pixels.model_copy(update={"crop": "none", "resize": None})
        return self.judges.seen(self.pictures(samples, as_made), start)

    def scores(self, parts: Sequence[list[Seen]]) -> dict[str, float]:
        return self.judges.scores(parts)

    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        if name != "real":
            raise unknown("anchor", name, ["real"])
        whole = self.judges.pixels.model_copy(update={"crop": "centre-square", "resize": self.model.side})
        photographs, latents = self.judges.photographs(count, whole), self.model.latents
        return np.concatenate([latents.encode(to_model(one)).cpu().numpy() for one in photographs])

    def decoded(self, samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
        return self.pictures(samples, self.judges.pixels).batches(size)

    def features(self, samples: np.ndarray) -> np.ndarray:
        return self.judges.extractor(torch.from_numpy(samples)).cpu().numpy()

    def reference_moments(self) -> Moments:
        return self.judges.real.moments["pool"]

    def real(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        return np.concatenate([*self.judges.photographs(count, self.judges.pixels)]), None


def prompted_evaluator(suite: Suite, device: str) -> PromptedEvaluator:
    """The evaluator of a suite of a published text-to-image model."""
    assert suite.pipeline and suite.reference and isinstance(suite.protocol, PublishedProtocol)
    assert suite.protocol.clip_law is not None
    shared = judges(suite.protocol.law, suite.protocol.clip_law, suite.reference, device)
    return PromptedEvaluator(suite.pipeline, device, shared)
