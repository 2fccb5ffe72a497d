"""Digest of a piece of code and of everything in the project that it imports.

A stage is keyed by this digest, so that editing a helper module, not only the method's own file, makes the
stage run again. Imports are read from the source by syntax, nothing is executed.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PROJECT = ("baselines", "bench", "metrics")


def module_file(name: str) -> Path | None:
    """Source file of a project module, or None for anything else."""
    if name.split(".")[0] not in PROJECT:
        return None
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def imported_files(path: Path) -> set[Path]:
    """Project and neighbouring files that a source file imports directly (also inside functions)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = {module_file(name) for name in names}
    # a plugin file may import its neighbours
    neighbours = (path.parent / f"{name.split('.')[0]}.py" for name in names)
    return {file for file in files if file} | {file for file in neighbours if file.is_file()}


def closure(roots: Iterable[Path]) -> list[Path]:
    """All files reachable from the roots by project imports, sorted."""
    seen: set[Path] = set()
    todo = [path.resolve() for path in roots]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(file.resolve() for file in imported_files(path))
    return sorted(seen)


@cache
def closure_digest(*modules: str | Path) -> str:
    """sha256 over the sources in the closure of modules (by name) or files (by path)."""
    roots = [m if isinstance(m, Path) else module_file(m) for m in modules]
    missing = [str(m) for m, root in zip(modules, roots, strict=True) if root is None]
    if missing:
        raise ValueError(f"no source found for {', '.join(missing)}")
    digest = hashlib.sha256(f"python {sys.version_info[0]}.{sys.version_info[1]}\n".encode())
    for path in closure(root for root in roots if root is not None):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
