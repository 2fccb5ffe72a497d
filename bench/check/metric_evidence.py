"""A metric of a plugin on small blocks of real samples under observation: twice, and in small batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.check.watch import Refused, Watch
from bench.evaluation import evaluator_for
from bench.evaluator import Evaluator
from bench.plugins.metrics import BATCH, batches_of, fed, lacking, real_side, undeclared
from bench.suite import load_suite
from metrics.plugin import Metric

SUITES = ("gmm2d", "digits")  # points without features; labelled images with features
SAMPLES, PART, SEED = 200, 7, 1


@dataclass(frozen=True)
class Measured:
    """Numbers of one block: as it is measured, again, and with few samples at a time."""

    whole: float
    again: float
    parts: float


@dataclass
class MetricEvidence:
    """What was observed.

    Attributes:
        undeclared: what is wrong with what the metric says of itself.
        lacking: what suites cannot give it; values: numbers by suite.
    """

    cls: type[Metric]
    watch: Watch = field(default_factory=Watch)
    undeclared: str | None = None
    raised: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    values: dict[str, Measured] = field(default_factory=dict)

    @contextmanager
    def on(self, suite: str) -> Iterator[None]:
        """Note an exception instead of passing it on; a refused one is noted by the watch."""
        try:
            yield
        except Refused:
            self.raised[suite] = ""
        except (Exception, SystemExit) as error:
            self.raised[suite] = f"{type(error).__name__}: {error}"


def gather_metric(cls: type[Metric]) -> MetricEvidence:
    """Observe a metric on the suites that can feed it."""
    found = MetricEvidence(cls, undeclared=undeclared(cls))
    if found.undeclared:
        return found
    for name in SUITES:
        evaluator = evaluator_for(load_suite(name))
        if why := lacking(cls.needs, evaluator):
            found.lacking[name] = why
            continue
        with found.on(name):
            found.values[name] = measured(found, evaluator)
    return found


def measured(found: MetricEvidence, evaluator: Evaluator) -> Measured:
    """All numbers of one block; only the metric's own doing is watched."""
    needs, samples = found.cls.needs, evaluator.anchor("real", SAMPLES, SEED)
    real = real_side(needs, evaluator, SAMPLES, SEED)

    def number(size: int) -> float:
        batches = list(batches_of(needs, evaluator, samples, SEED, size))
        with found.watch.on():
            return fed(found.cls, real, SEED, batches, lambda: None)

    return Measured(number(BATCH), number(BATCH), number(PART))
