"""Mutants of a method: its source with one fragment replaced, executed as a module of its own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

import pytest


def mutant(original: ModuleType, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    source = inspect.getsource(original)
    assert source.count(old) == 1, f"{original.__name__} has {source.count(old)} places {old!r}, expected 1"
    module = ModuleType(f"{original.__name__}_mutant")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source.replace(old, new), module.__name__, "exec"), vars(module))
    return module


def caught(module: ModuleType, checks: Iterable[Callable[[ModuleType], None]]) -> str | None:
    """Name of the first property that the module breaks."""
    for check in checks:
        try:
            check(module)
        except AssertionError:
            return check.__name__
    return None
