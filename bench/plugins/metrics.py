"""Metrics that plugins bring, by name, and how one is fed a block of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from baselines.streams import numpy_generator
from bench.closure import closure_digest
from bench.errors import UsageError, asked, unknown
from bench.evaluator import Evaluator
from bench.plugins.groups import METRICS, installed
from bench.plugins.loading import METRIC, Found, Plugins, from_entry_point, load_plugins
from bench.record import Failure, MetricValue, PluginMetric, PluginName
from bench.suite import load_suite, suite_names
from metrics.plugin import Batch, Metric, Needs, Real

BATCH = 250  # samples that a metric is given at a time; its number does not depend on it


@dataclass(frozen=True)
class Brought:
    """A metric ready to be measured.

    Attributes:
        closure_sha256: digest of its source and of all it imports in the project.
        package: version of the package that brings it; given: path of the ``--plugin``, if one does.
    """

    cls: type[Metric]
    closure_sha256: str
    package: str
    given: Path | None = None

    def statement(self, rows: dict[int, MetricValue], failure: Failure | None = None) -> PluginMetric:
        """What a record says of it."""
        cls = self.cls
        return PluginMetric(
            title=cls.title or cls.name,
            about=cls.about,
            better=cls.better,
            digits=cls.digits,
            version=cls.version,
            package=self.package,
            closure_sha256=self.closure_sha256,
            rows=rows,
            failure=failure,
        )


class MetricRegistry:
    """All metrics of plugins that can be named: given with ``--plugin``, and installed.

    Raises:
        UsageError: see ``load_plugins``; one has the key of a metric that ships.
    """

    def __init__(self, plugins: tuple[Path, ...] | Plugins = ()) -> None:
        loaded = plugins if isinstance(plugins, Plugins) else load_plugins(plugins)
        self.given, self.installed = loaded.metrics, installed(METRICS)
        if self.given or self.installed:
            taken = {column.key for name in suite_names() for column in load_suite(name).metrics}
            for name in sorted(taken & {*self.given, *self.installed}):
                raise UsageError(f"plugin metric {name!r} has the key of a metric that ships; rename it")

    def find(self, name: str) -> Brought:
        """A metric by name; raises UsageError naming the nearest one."""
        if name in self.given:
            return brought(self.given[name])
        if name in self.installed:
            return brought(from_entry_point(METRIC, self.installed[name]))
        raise unknown("metric", name, sorted({*self.given, *self.installed}) or ["none"], "--metric")

    def asked(self, names: Iterable[str] = ()) -> list[Brought]:
        """Those of the plugins given, and others by name."""
        return [self.find(name) for name in dict.fromkeys([*self.given, *names])]


def brought(found: Found[Metric]) -> Brought:
    """A metric that somebody brings; raises UsageError for one that does not say what tables need."""
    cls = found.cls
    if problem := undeclared(cls):
        raise UsageError(f"metric {cls.name!r} ({found.source}): {problem}; see 'bench check'")
    return Brought(cls, closure_digest(found.source), found.version, found.given)


def undeclared(cls: type[Metric]) -> str | None:
    """What is wrong with how a metric says what it is; None if nothing is."""
    if not isinstance(getattr(cls, "needs", None), Needs):
        return f"needs is {cls.needs!r}, expected metrics.plugin.Needs"
    said: dict[str, Any] = {key: getattr(cls, key, None) for key in ("about", "better", "digits", "version")}
    title = cls.title or cls.name
    try:
        TypeAdapter(PluginName).validate_python(cls.name)
        PluginMetric(title=title, package="", closure_sha256="", rows={}, **said)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "name"
        return f"{key} is {first['input']!r}, expected {asked(first)}"
    if not said["about"].strip() or any("\n" in text for text in (title, said["about"])):
        return f"about is {said['about']!r}, expected one sentence on one line"
    return None


def lacking(needs: Needs, evaluator: Evaluator) -> str | None:
    """What a suite cannot give a metric; None if it can give all."""
    if needs.space not in (None, evaluator.space):
        return f"it takes {needs.space}, and samples here are {evaluator.space}"
    if needs.features and evaluator.extractor_sha256 is None:
        return "it needs features, and the protocol has no feature network"
    if needs.labels and evaluator.labels(range(1)).label is None:
        return "it needs labels, and samples here have none"
    return None


def real_side(needs: Needs, evaluator: Evaluator, count: int, seed: int) -> Real:
    """The real side of a block of ``count`` samples."""
    moments = evaluator.reference_moments() if needs.features else None
    if not needs.real:
        return Real(None, moments)
    samples, labels = evaluator.real(count, seed)
    features = None
    if needs.features:
        pieces = range(0, len(samples), BATCH)
        features = np.concatenate([evaluator.features(samples[i : i + BATCH]) for i in pieces])
    return Real(batch_of(samples, labels if needs.labels else None, features), moments)


def batches_of(
    needs: Needs, evaluator: Evaluator, samples: np.ndarray, seed: int, size: int = BATCH
) -> Iterator[Batch]:
    """A block of stored samples as a metric is given it."""
    start = 0
    for decoded in evaluator.decoded(samples, size):
        rows = range(start, start := start + len(decoded))
        label = evaluator.labels(rows, seed).label if needs.labels else None
        features = evaluator.features(decoded) if needs.features else None
        yield batch_of(decoded, None if label is None else label.cpu().numpy(), features)


def batch_of(samples: np.ndarray, labels: np.ndarray | None, features: np.ndarray | None) -> Batch:
    """Arrays that cannot be written to."""
    return Batch(
        sealed(samples),
        None if labels is None else sealed(labels),
        None if features is None else sealed(features),
    )


def sealed(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def fed(cls: type[Metric], real: Real, seed: int, batches: Iterable[Batch], tick: Callable[[], Any]) -> float:
    """The number of a block; ``tick`` is called after each batch.

    Raises:
        ValueError: it gave no finite number; and whatever the metric raises.
    """
    metric = cls(real, numpy_generator(seed, "metric-subset", 1))
    for batch in batches:
        metric.update(batch)
        tick()
    value = float(metric.value())
    if not math.isfinite(value):
        raise ValueError(f"its value is {value}, expected a finite number")
    return value
