"""Checking a method: its evidence is gathered on a small suite, and every rule is judged."""

from __future__ import annotations

import tempfile
from pathlib import Path

from baselines.distiller import Distiller
from bench.check.evidence import gather
from bench.check.rules import Verdict, judge
from bench.errors import UsageError
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.plugins.loading import load_methods
from bench.suite import load_suite


def methods_of(target: str) -> dict[str, type[Distiller]]:
    """The methods of a plugin file or folder, or the installed or shipped one of a name.

    Raises:
        UsageError: no such file or name, or it cannot be loaded.
    """
    path = Path(target)
    if path.exists() or path.suffix == ".py" or "/" in target:
        return {name: found.cls for name, found in load_methods(path).items()}
    method = MethodRegistry().find(target)
    if method.ships and not hasattr(method.cls, "name"):
        raise UsageError(f"{target} wraps another method; it is checked by the tests of the package")
    return {method.cls.name: method.cls}


def check_class(cls: type[Distiller]) -> list[Verdict]:
    """All rules on a method, with its default options: on gmm2d, or digits if it needs labels or features."""
    suite = "digits" if cls.needs.labels or cls.needs.features else "gmm2d"
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        return judge(gather(cls, Lab.open(load_suite(suite)), Path(folder)))


def check(target: str | Path) -> dict[str, list[Verdict]]:
    """Verdicts by method, of a plugin file, a package's folder or a name; for a method's own tests."""
    return {name: check_class(cls) for name, cls in methods_of(str(target)).items()}
