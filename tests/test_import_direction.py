"""The house plan: which way imports point, what a light import may load, how large a part may grow."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("baselines", "bench", "metrics")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
FORBIDDEN = {"baselines": {"bench", "metrics"}, "metrics": {"bench", "baselines"}, "bench": set()}
HEAVY = {"torch", "torchvision", "scipy", "pandas", "sklearn", "matplotlib", "numpy"}
LIGHT = ["bench", "bench.errors", "bench.record", "bench.suite", "bench.cli"]
LINE, FUNCTION, METHOD, MODULE = 110, 40, 150, 300


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, wherever it does so."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def method_files() -> list[Path]:
    """Files of ``baselines`` that define a distiller with a name."""
    return [
        path
        for path in FILES
        if path.parent == ROOT / "baselines"
        for node in TREES[path].body
        if isinstance(node, ast.ClassDef)
        and any(getattr(base, "id", None) in ("Distiller", "StateDistiller") for base in node.bases)
        and any(getattr(getattr(item, "target", None), "id", None) == "name" for item in node.body)
    ]


METHODS = {module_name(path) for path in method_files()}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    assert {"baselines.sid", "baselines.progressive"} <= METHODS and len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=named)
def test_packages_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert not {name.split(".")[0] for name in imports(path)} & FORBIDDEN[package]


@pytest.mark.parametrize("path", method_files(), ids=named)
def test_methods_stand_on_shared_parts_only(path: Path) -> None:
    """A method imports no other method, no teacher and no data set."""
    used = set(imports(path))
    assert not used & (METHODS - {module_name(path)})
    assert not {name for name in used if name.startswith(("baselines.teachers", "baselines.datasets"))}


def test_shared_parts_know_no_method() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "baselines" and module_name(path) not in METHODS:
            assert not set(imports(path)) & METHODS, named(path)


def test_light_imports_load_no_numerics() -> None:
    """One fresh process per list: every light module together."""
    lines = [f"import {name}" for name in LIGHT]
    script = "\n".join([*lines, "import json, sys", "print(json.dumps(sorted(sys.modules)))"])
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert "bench" in loaded and not loaded & HEAVY


@pytest.mark.parametrize("path", FILES, ids=named)
def test_parts_stay_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    limit = METHOD if module_name(path) in METHODS else MODULE
    assert len(lines) <= limit, f"{len(lines)} lines, at most {limit}"
    long = [number for number, line in enumerate(lines, 1) if len(line) > LINE]
    assert not long, f"lines longer than {LINE} columns: {long}"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION, f"{node.name} has {length} lines, at most {FUNCTION}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_global_random_numbers(path: Path) -> None:
    """Draws come from named streams: no global seeding, no draw without a generator."""
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        call = ast.unparse(node.func)
        where = f"{named(path)}:{node.lineno} {call}"
        if call in {"torch.randn", "torch.rand", "torch.randint", "torch.randperm", "torch.multinomial"}:
            assert any(keyword.arg == "generator" for keyword in node.keywords), where
        assert call not in {"torch.randn_like", "torch.rand_like", "np.random.seed", "np.random.randn"}, where
