"""Samples that somebody else made, scored under a protocol: what ``bench measure`` does."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bench.errors import AssetError, UsageError
from bench.evaluation import evaluator_for
from bench.evaluator import Evaluator
from bench.feature_network import feature_network
from bench.plugins.metric_job import Block, job_of, values_apart
from bench.plugins.metrics import MetricRegistry, lacking
from bench.record import Failure, PluginMetric
from bench.report.protocols import find_protocol
from bench.stages import metric_value
from bench.store import file_digest
from bench.suite import Suite, load_suite, suite_names
from bench.suite_protocol import PublishedProtocol
from metrics.features.extractor import Extractor
from metrics.measure import exact_count, load_reference, measure, needs_reference
from metrics.protocols.record import Clip, Protocol
from metrics.protocols.record import Extractor as ExtractorLaw
from metrics.reference import Reference, WrongFile
from metrics.samples.source import open_images, open_points
from metrics.statistics import Summary, summarise

LABELLED = ("class_fd", "accuracy")  # metrics of a suite that need the class asked for of every sample
CLASSES = 10


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; one path of samples for each repeat."""

    samples: tuple[Path, ...]
    protocol: str
    reference: Path | None = None
    weights: Path | None = None
    captions: Path | None = None
    device: str = "cpu"
    plugins: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Scores with what they rest on.

    Attributes:
        values: of every metric, one for each repeat.
        samples_sha256: one for each repeat; reference and extractor: None where there is none.
        notes: what is not as the protocol has it, or not known.
        plugin_metrics: what plugins measured, under step count 0.
    """

    protocol: Protocol
    values: dict[str, tuple[float, ...]]
    samples_sha256: tuple[str, ...]
    reference_sha256: str | None
    extractor_sha256: str | None
    notes: tuple[str, ...]
    plugin_metrics: dict[str, PluginMetric] = field(default_factory=dict)

    def summary(self, key: str) -> Summary:
        """Mean, spread and interval of a metric over the repeats."""
        return summarise(self.values[key])

    def headline(self, key: str) -> float:
        """The number that the protocol reports: mean or least of the repeats."""
        values = self.values[key]
        return min(values) if self.protocol.repeats.aggregate == "min" else float(np.mean(values))


def measure_samples(request: Request) -> Measured:
    """Score samples under a protocol.

    Raises:
        UsageError: unknown protocol, or samples, reference or options that do not fit it.
        AssetError: the protocol's weights or reference are not given, or are not the pinned ones.
    """
    protocol = find_protocol(request.protocol)
    if protocol.sampling is None:
        raise UsageError(f"{protocol.id} measures time while a generator runs, not samples; see 'bench run'")
    if len(request.samples) > protocol.repeats.count:
        found, wanted = len(request.samples), protocol.repeats.count
        raise UsageError(f"{found} sets of samples; {protocol.id} has {wanted} repeat{'s' * (wanted > 1)}")
    with explained():
        suite = suite_of(protocol)
        if suite is not None:
            return of_suite(request, protocol, suite)
        if request.plugins:
            raise UsageError(
                f"--plugin: metrics of others fit protocols of embedded suites, not {protocol.id}"
            )
        if protocol.clip is not None:
            from bench.captioned import of_captions

            return of_captions(request, protocol)
        return of_images(request, protocol)


@contextmanager
def explained() -> Iterator[None]:
    """Errors of ``metrics`` as errors with an exit status."""
    try:
        yield
    except WrongFile as error:
        raise AssetError(str(error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error


def suite_of(protocol: Protocol) -> Suite | None:
    """The embedded suite that is measured under a protocol, which brings reference and extractor."""
    suites = (load_suite(name) for name in suite_names())
    embedded = (one for one in suites if not isinstance(one.protocol, PublishedProtocol))
    return next((one for one in embedded if one.protocol.id == protocol.id), None)


def refuse_options(request: Request, protocol: Protocol, *names: str) -> None:
    """Raise UsageError for options that a protocol has no use for."""
    given = [f"--{name}" for name in names if getattr(request, name) is not None]
    if given:
        raise UsageError(f"{' and '.join(given)}: {protocol.id} brings its own or needs none")


def common_notes(request: Request, protocol: Protocol) -> list[str]:
    """What is not known of any samples from elsewhere."""
    count, wanted = len(request.samples), protocol.repeats.count
    notes = ["samples were made elsewhere: their seeds, weights and precision are not known"]
    if count < wanted:
        notes.append(f"{count} of {wanted} repeats")
    if doubt := protocol.provisional():
        notes.append(f"{protocol.id} is provisional: {doubt}")
    return notes


def of_images(request: Request, protocol: Protocol) -> Measured:
    """Images in the features of one extractor, against a reference."""
    refuse_options(request, protocol, "captions")
    assert protocol.pixels is not None
    sources = [open_images(path, protocol.pixels) for path in request.samples]
    for source in sources:  # before any weights are read
        exact_count(protocol, source.path, source.count)
    extractor = extractor_of(request, protocol)
    reference = reference_of(request, protocol, extractor) if needs_reference(protocol) else None
    scores = [measure(protocol, source, extractor, reference) for source in sources]
    notes = common_notes(request, protocol)
    if protocol.sampling and protocol.sampling.labels != "none":
        notes.append(f"labels are not known; {protocol.id} has them {protocol.sampling.labels}")
    return Measured(
        protocol,
        {key: tuple(score[key] for score in scores) for key in scores[0]},
        tuple(source.sha256 for source in sources),
        reference.sha256 if reference else None,
        extractor.sha256,
        tuple(notes),
    )


def extractor_of(request: Request, protocol: Protocol) -> Extractor:
    """The protocol's extractor from ``--weights``.

    Raises:
        AssetError: no weights given, or not the pinned ones.
    """
    part = protocol.extractor
    if part is None:
        raise UsageError(f"{protocol.id} has no extractor, so images cannot be measured under it")
    return given_network(request, protocol, part)


def given_network(request: Request, protocol: Protocol, part: ExtractorLaw | Clip) -> Extractor:
    """A network of a protocol from ``--weights``; see ``feature_network`` for errors."""
    given, device = request.weights, request.device
    return feature_network(
        protocol.id, part.name, given, part.asset.sha256, device, "; give it with --weights"
    )


def reference_of(request: Request, protocol: Protocol, extractor: Extractor) -> Reference:
    """The protocol's reference from ``--reference``; raises AssetError if none is given."""
    if request.reference is None:
        part = protocol.reference
        names = ", ".join(asset.id for asset in part.assets) if part else ""
        of = f" of {part.of}" if part else ""
        kinds = "statistics or images" if part and part.computable else "statistics"
        raise AssetError(f"{protocol.id}: give --reference, {kinds}{of}{f' ({names})' if names else ''}")
    return load_reference(request.reference, protocol, extractor)


def of_suite(request: Request, protocol: Protocol, suite: Suite) -> Measured:
    """Samples of an embedded suite, scored as the suite scores its own."""
    refuse_options(request, protocol, "reference", "weights", "captions")
    assert protocol.sampling is not None
    evaluator, notes = evaluator_for(suite), common_notes(request, protocol)
    scores, digests, blocks = [], [], []
    for path, seed in zip(request.samples, protocol.sampling.blocks, strict=False):
        if protocol.pixels is None:
            samples, digest, labelled = suite_points(path, protocol, evaluator)
        else:
            samples, digest, labelled = suite_images(path, protocol)
        found = evaluator.score(samples, seed)
        blocks.append((samples, seed, labelled))
        scores.append({key: value for key, value in found.items() if labelled or key not in LABELLED})
        digests.append(digest)
        if not labelled:
            notes.append(f"{path.name} has no labels: {' and '.join(LABELLED)} are left out")
    keys = [key for key in protocol.metrics if all(key in score for score in scores)]
    return Measured(
        protocol,
        {key: tuple(score[key] for score in scores) for key in keys},
        tuple(digests),
        evaluator.reference_sha256,
        evaluator.extractor_sha256,
        tuple(notes),
        measured_beside(request, suite, evaluator, blocks),
    )


def measured_beside(
    request: Request, suite: Suite, evaluator: Evaluator, blocks: list[tuple[np.ndarray, int, bool]]
) -> dict[str, PluginMetric]:
    """What the plugins given measure of blocks: samples, seed, and whether labels are known.

    Raises:
        UsageError: a metric that these samples cannot feed.
    """
    made = {}
    for metric in MetricRegistry(request.plugins).asked():
        name, needs = metric.cls.name, metric.cls.needs
        why = lacking(needs, evaluator)
        if needs.labels and not all(labelled for *_, labelled in blocks):
            why = "it needs labels, and these samples have none"
        if why:
            raise UsageError(f"--plugin: metric {name} does not fit: {why}")
        with tempfile.TemporaryDirectory(prefix="bench-measure-") as folder:
            files = [stored_block(Path(folder), *block) for block in blocks]
            values = values_apart(job_of(metric, suite, request.device, files, None))
        failures = [value for value in values if isinstance(value, Failure)]
        numbers = [value for value in values if isinstance(value, float)]
        rows = {} if failures else {0: metric_value(numbers)}
        made[name] = metric.statement(rows, failures[0] if failures else None)
    return made


def stored_block(folder: Path, samples: np.ndarray, seed: int, labelled: bool) -> Block:
    """Samples in a file, as a metric's process reads them."""
    path = folder / f"{seed}.safetensors"
    save_file({"samples": np.ascontiguousarray(samples)}, path)
    return Block(path=path, sha256=file_digest(path), seed=seed)


def suite_points(path: Path, protocol: Protocol, evaluator: Evaluator) -> tuple[np.ndarray, str, bool]:
    """Points of a mixture suite with their digest; they have no labels, and none are asked for."""
    points = open_points(path)
    exact_count(protocol, path, len(points))
    dimension = evaluator.anchor("mode-means", 1, 0).shape[1]
    if points.shape[1] != dimension:
        raise ValueError(f"{path}: points of {points.shape[1]} coordinates; {protocol.id} has {dimension}")
    return points, hashlib.sha256(repr(points.shape).encode() + points.tobytes()).hexdigest(), True


def suite_images(path: Path, protocol: Protocol) -> tuple[np.ndarray, str, bool]:
    """Images of a class-conditional suite in the order of its label law, digest, whether labelled."""
    assert protocol.pixels is not None
    source = open_images(path, protocol.pixels)
    exact_count(protocol, path, source.count)
    images, labels = np.concatenate(list(source.batches())), source.labels()
    if labels is None:
        return images, source.sha256, False
    return images[balanced_order(path, labels)], source.sha256, True


def balanced_order(path: Path, labels: np.ndarray) -> np.ndarray:
    """Rows such that row i has label i mod 10.

    Raises:
        ValueError: the classes do not come equally often.
    """
    fair = len(labels) // CLASSES
    counts = [int((labels == label).sum()) for label in range(CLASSES)]
    if any(count != fair for count in counts) or fair * CLASSES != len(labels):
        raise ValueError(
            f"{path}: labels 0 to {CLASSES - 1} come {', '.join(map(str, counts))} times; "
            f"the protocol asks for each {fair} times"
        )
    return np.stack([np.flatnonzero(labels == label) for label in range(CLASSES)], axis=1).ravel()
