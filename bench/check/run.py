"""Checking a plugin: evidence is gathered on small suites, and every rule is judged."""

from __future__ import annotations

import tempfile
from pathlib import Path

from baselines.distiller import Distiller
from bench.check.evidence import gather
from bench.check.metric_evidence import gather_metric
from bench.check.metric_rules import METRIC_RULES
from bench.check.rules import Verdict, judge
from bench.errors import UsageError
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.plugins.groups import METRICS, installed
from bench.plugins.loading import METRIC, from_entry_point, load_plugin
from bench.suite import load_suite
from metrics.plugin import Metric

Piece = type[Distiller] | type[Metric]


def pieces_of(target: str) -> dict[str, Piece]:
    """What a plugin file or folder brings; the installed metric, or the method, of a name.

    Raises:
        UsageError: no such file or name, or it cannot be loaded.
    """
    path = Path(target)
    if path.exists() or path.suffix == ".py" or "/" in target:
        brought = load_plugin(path)
        methods = {name: one.cls for name, one in brought.methods.items()}
        return {**methods, **{name: one.cls for name, one in brought.metrics.items()}}
    points = installed(METRICS)
    if target in points:
        return {target: from_entry_point(METRIC, points[target]).cls}
    method = MethodRegistry().find(target)
    if method.ships and not hasattr(method.cls, "name"):
        raise UsageError(f"{target} wraps another method; it is checked by the tests of the package")
    return {method.cls.name: method.cls}


def check_piece(cls: Piece) -> list[Verdict]:
    """All rules on a method or a metric."""
    return judge(gather_metric(cls), METRIC_RULES) if issubclass(cls, Metric) else check_class(cls)


def check_class(cls: type[Distiller]) -> list[Verdict]:
    """All rules on a method, with its default options: on gmm2d, or digits if it needs labels or features."""
    suite = "digits" if cls.needs.labels or cls.needs.features else "gmm2d"
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        return judge(gather(cls, Lab.open(load_suite(suite)), Path(folder)))


def check(target: str | Path) -> dict[str, list[Verdict]]:
    """Verdicts by name, of a plugin file, a package's folder or a name; for a plugin's own tests."""
    return {name: check_piece(cls) for name, cls in pieces_of(str(target)).items()}
