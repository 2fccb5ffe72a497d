"""Evaluation of a suite of published models: FID and its kin under a protocol that papers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baselines.datasets.stored_images import StoredImages
from baselines.datasets.stored_latents import StoredLatents
from baselines.diffusion.cond import Cond
from baselines.streams import numpy_generator
from baselines.teachers.autoencoder import LatentDecoder, load_latent_decoder
from bench.errors import AssetError, unknown
from bench.evaluator import InParts
from bench.feature_network import feature_network
from bench.files import find_file
from bench.kept_statistics import kept_statistics
from bench.models import Stored, open_data
from bench.parts import Files, Model
from bench.sampling import Inputs, NumberedInputs
from bench.suite import Suite
from bench.suite_protocol import SMOKE, PublishedProtocol
from bench.training_data import data_sha256
from metrics.features.extractor import Extractor
from metrics.measure import Measure, Seen, feed, load_reference, measures_of, merge, values_of
from metrics.moments import Moments
from metrics.precision import tf32
from metrics.protocols.record import Pixels, Protocol
from metrics.reference import Reference
from metrics.samples.preparation import to_uint8
from metrics.samples.source import ImageSource, MemoryImages

DECODED = 8  # latents at a time


@dataclass(frozen=True)
class ImageEvaluator(InParts):
    """Images in the features of a published network.

    Attributes:
        law: the protocol; model, files: the suite's; device: where the feature network runs.
    """

    law: Protocol
    model: Model
    files: Files
    device: str = "cpu"

    @cached_property
    def extractor(self) -> Extractor:
        """The feature network, its digest checked before it is loaded."""
        part = self.law.extractor
        assert part is not None
        path = find_file(self.files.extractor_for(self.law))
        return feature_network(self.law.id, part.name, path, part.asset.sha256, self.device)

    @cached_property
    def reference(self) -> Reference:
        """Statistics from their file, or computed from the training data."""
        named = self.files.reference_for(self.law)
        path = find_file(named or self.files.data)
        try:
            if named is None:
                path = kept_statistics(path, self.law, self.extractor)
            return load_reference(path, self.law, self.extractor)
        except ValueError as error:
            raise AssetError(str(error)) from error

    @property
    def data(self) -> Stored:
        """The training data."""
        return open_data(self.files, self.model)

    @property
    def extractor_sha256(self) -> str | None:
        return self.extractor.sha256

    @property
    def reference_sha256(self) -> str | None:
        return self.reference.sha256

    def drawn_from(self, *, anchor: bool) -> Mapping[str, str | None]:
        assert self.law.sampling is not None
        empirical = self.model.classes and self.law.sampling.labels == "empirical"
        return {"data": data_sha256(self.files.data)} if anchor or empirical else {}

    @property
    def pixel_law(self) -> Pixels:
        """What the protocol says of pixels."""
        assert self.law.pixels is not None
        return self.law.pixels

    def inputs(self, shape: tuple[int, ...]) -> Inputs:
        assert self.law.sampling is not None
        if self.law.sampling.seeds == "number":
            return NumberedInputs(shape, self.model.classes)
        return super().inputs(shape)

    def labels(self, indices: range, seed: int = 0) -> Cond:
        assert self.law.sampling is not None
        classes = self.model.classes
        if not classes:
            return Cond()
        match self.law.sampling.labels:
            case "balanced":
                chosen = [i % classes for i in indices]
            case "uniform":
                chosen = [int(numpy_generator(seed, "labels", i).integers(classes)) for i in indices]
            case _:  # empirical: those of training images
                known = self.data.labels
                assert known is not None
                rows = [int(numpy_generator(seed, "labels", i).integers(len(known))) for i in indices]
                chosen = known[rows].tolist()
        return Cond(label=torch.tensor(chosen))

    def pixels(self, x: Tensor) -> np.ndarray:
        return to_uint8(x.clamp(-1, 1).cpu().numpy(), self.pixel_law.rounding)

    def images(self, samples: np.ndarray) -> ImageSource:
        """What is scored of stored samples."""
        return MemoryImages(samples, self.pixel_law)

    def measures(self) -> list[Measure]:
        """Of a block, not fed yet."""
        smoke = self.law.id.endswith(SMOKE)  # so few samples that no covariance has full rank
        return measures_of(self.law, self.reference, allow_singular=smoke)

    def seen(self, samples: np.ndarray, start: int) -> list[Seen]:
        measures = self.measures()
        feed(self.images(samples), self.extractor, measures)
        return [each.seen for each in measures]

    def scores(self, parts: Sequence[list[Seen]]) -> dict[str, float]:
        measures = self.measures()
        for part in parts:
            merge(measures, part)
        return values_of(self.law, measures)

    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        data = self.data
        if name != "real":
            raise unknown("anchor", name, ["real"])
        rows = numpy_generator(seed, "sample-noise", 1).permutation(len(data))
        chosen = rows[np.arange(count) % len(rows)]  # a set smaller than the count comes again
        return self.stored(data, chosen)

    def stored(self, data: Stored, rows: np.ndarray) -> np.ndarray:
        """Training images as samples are stored."""
        assert isinstance(data, StoredImages)
        return np.stack([data.image(int(row)) for row in rows])

    def decoded(self, samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
        return self.images(samples).batches(size)

    def features(self, samples: np.ndarray) -> np.ndarray:
        return self.extractor(torch.from_numpy(samples)).cpu().numpy()

    def reference_moments(self) -> Moments:
        if "pool" not in self.reference.moments:
            raise AssetError(f"{self.law.id}: its reference has no mean and covariance of features")
        return self.reference.moments["pool"]


@dataclass(frozen=True)
class LatentEvaluator(ImageEvaluator):
    """The same where samples are an autoencoder's latents: stored as such, and decoded to be scored."""

    @cached_property
    def decoder(self) -> LatentDecoder:
        """The autoencoder's decoder."""
        assert self.files.decoder is not None
        path = find_file(self.files.decoder)
        try:
            return load_latent_decoder(path, self.device)
        except ValueError as error:
            raise AssetError(str(error)) from error

    def pixels(self, x: Tensor) -> np.ndarray:
        return x.float().cpu().numpy()

    def images(self, samples: np.ndarray) -> ImageSource:
        return DecodedImages(samples, self.decoder, self.pixel_law, fast=self.law.precision.tf32)

    def stored(self, data: Stored, rows: np.ndarray) -> np.ndarray:
        assert isinstance(data, StoredLatents)
        return np.stack([data.scale(data.posterior(int(row))[0][None])[0] for row in rows])


class DecodedImages(ImageSource):
    """Images that a decoder makes of latents ``[N, C, H, W]``, batch by batch.

    Args:
        fast: whether the decoder may use TF32.
    """

    def __init__(
        self, latents: np.ndarray, decoder: Callable[[Tensor], Tensor], pixels: Pixels, *, fast: bool
    ) -> None:
        super().__init__(Path("samples"), len(latents), pixels)
        self.latents, self.decoder, self.fast = latents, decoder, fast
        self.rule = pixels.rounding_decoded or pixels.rounding

    def labels(self) -> np.ndarray | None:
        return None

    def _raw(self) -> Iterator[tuple[str, np.ndarray]]:
        for start in range(0, self.count, DECODED):
            with tf32(self.fast):  # the features of what it makes are computed outside
                x = self.decoder(torch.from_numpy(self.latents[start : start + DECODED]))
            for image in to_uint8(x.cpu().numpy(), self.rule):
                yield "samples", image


def published_evaluator(suite: Suite, device: str) -> ImageEvaluator:
    """The evaluator of a suite of published models."""
    assert suite.model is not None and suite.files is not None
    assert isinstance(suite.protocol, PublishedProtocol)
    kind = ImageEvaluator if suite.files.decoder is None else LatentEvaluator
    return kind(suite.protocol.law, suite.model, suite.files, device)
