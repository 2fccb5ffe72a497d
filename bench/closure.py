"""Digest of a piece of code and of everything in the project that it imports.

A stage is keyed by this digest, so that editing a helper module, not only the method's own file, makes the
stage run again. Imports are read from the source by syntax, nothing is executed.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PROJECT = ("baselines", "bench", "metrics")
INSTALLED = ("site-packages", "dist-packages")  # where packages of all sorts lie side by side
HOME = Path(__file__).resolve().parent.parent  # the folder that holds the project's packages


def module_file(name: str) -> Path | None:
    """Source file of a project module, or None for anything else."""
    if name.split(".")[0] not in PROJECT:
        return None
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def package_root(path: Path) -> Path:
    """The folder that holds the outermost package of a file; of a file in no package its own folder."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def is_project(path: Path) -> bool:
    """Whether a file is part of this distribution."""
    return path.is_relative_to(HOME) and path.relative_to(HOME).parts[0] in PROJECT


def own_files(path: Path, node: ast.Import | ast.ImportFrom) -> Iterator[Path]:
    """Files of a plugin that one of its imports may load: of its package, or neighbours of a lone file."""
    root = package_root(path)
    if (
        root.name in INSTALLED and root == path.parent
    ):  # a lone module: its neighbours are other distributions
        return
    if isinstance(node, ast.ImportFrom) and node.level:
        base = path.parents[node.level - 1]
        names = [node.module or ""] if node.module else []
        names += [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
    else:
        base = root
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{name}" for name in names)]
        if root != path.parent:  # in a package: what lies beside the package is another distribution's
            names = [name for name in names if name.split(".")[0] == path.relative_to(root).parts[0]]
    for name in names:
        place = base.joinpath(*name.split("."))
        yield from (place.with_suffix(".py"), place / "__init__.py")


def initialisers(path: Path) -> Iterator[Path]:
    """The ``__init__`` files run before a module of a plugin's package, but for those that do nothing."""
    folder = path.parent
    while (file := folder / "__init__.py").is_file():
        body = ast.parse(file.read_text(encoding="utf-8")).body
        if any(not isinstance(getattr(node, "value", None), ast.Constant) for node in body):
            yield file
        folder = folder.parent


def imported_files(path: Path) -> set[Path]:
    """Files of the project, and of a plugin its own, that a source file imports (also inside functions)."""
    names: set[str] = set()
    files: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import | ast.ImportFrom) and not is_project(path):
            files.update(file for file in own_files(path, node) if file.is_file())
    if not is_project(path):
        files.update(initialisers(path))
    return files | {file for file in map(module_file, names) if file}


def closure(roots: Iterable[Path]) -> list[Path]:
    """All files reachable from the roots by their imports: the project's, then those of plugins; sorted."""
    seen: set[Path] = set()
    todo = [path.resolve() for path in roots]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(file.resolve() for file in imported_files(path))
    # a plugin's place on this machine decides nothing
    project = sorted(path for path in seen if is_project(path))
    return project + sorted(seen - set(project), key=lambda p: p.relative_to(package_root(p)).parts)


@cache
def closure_digest(*modules: str | Path) -> str:
    """sha256 over the sources in the closure of modules (by name) or files (by path).

    A file given by path counts by its content and not by its name, so that a method is the same one as a lone
    file, in a package's folder and installed.
    """
    roots = [m if isinstance(m, Path) else module_file(m) for m in modules]
    missing = [str(m) for m, root in zip(modules, roots, strict=True) if root is None]
    if missing:
        raise ValueError(f"no source found for {', '.join(missing)}")
    unnamed = {m.resolve() for m in modules if isinstance(m, Path)}
    digest = hashlib.sha256(f"python {sys.version_info[0]}.{sys.version_info[1]}\n".encode())
    for path in closure(root for root in roots if root is not None):
        name = "" if path in unnamed else path.name
        digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
