"""Distillers of others: from a Python file, from the folder of a package, or installed as an entry point.

The three ways load the same class from the same source. A file inside a package is imported as a part of it,
so that its relative imports work; a lone file may import its neighbours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from baselines.distiller import Distiller
from bench.budget import StepTimeout, watchdog
from bench.closure import package_root
from bench.errors import UsageError
from bench.plugins.guard import Guard

GROUP = "distillbench.methods"
IMPORT_SECONDS = 60.0


@dataclass(frozen=True)
class Found:
    """A distiller that a plugin brings.

    Attributes:
        source: the file that defines it.
        version: of the package that brings it, "plugin" for a lone file.
    """

    cls: type[Distiller]
    source: Path
    version: str


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn whatever a plugin does wrong while it is imported into one sentence.

    Raises:
        UsageError: it raised, hung, or changed torch's global state or the bench itself.
    """
    before = Guard.now()
    try:
        with watchdog(IMPORT_SECONDS, 0):
            yield
    except UsageError:
        raise
    except StepTimeout as error:
        raise UsageError(f"{where}: its import took longer than {IMPORT_SECONDS:g} s") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where}: raised {type(error).__name__} on import: {error}") from error
    finally:
        changed = before.restore()
    if changed:
        raise UsageError(f"{where}: changes {', '.join(changed)} on import; move that out of the plugin")


def load_methods(path: Path) -> dict[str, Found]:
    """Distillers by name, of a plugin file or of a package's folder (with its ``pyproject.toml``).

    Raises:
        UsageError: nothing there, it raises on import, or it brings no method.
    """
    where = f"--plugin {path}"
    if path.is_dir():
        return from_folder(path, where)
    if not path.is_file():
        raise UsageError(f"{where}: no such file")
    with explained(where):
        module = import_file(path.resolve(), where)
    classes = [value for value in vars(module).values() if is_method(value, module)]
    if not classes:
        raise UsageError(f"{where}: defines no subclass of baselines.distiller.Distiller with a name")
    return {cls.name: Found(cls, path.resolve(), "plugin") for cls in classes}


def is_method(value: Any, module: ModuleType) -> bool:
    """Whether a value is a distiller that a module defines, and not one it imports."""
    own = isinstance(value, type) and issubclass(value, Distiller) and value.__module__ == module.__name__
    return own and isinstance(getattr(value, "name", None), str)


def import_file(path: Path, where: str) -> ModuleType:
    """Import a file: as a module of its package, or alone with its neighbours in reach."""
    root = package_root(path)
    if root != path.parent:
        dotted = ".".join(path.relative_to(root).with_suffix("").parts)
        return import_from(root, dotted, where)
    if str(root) not in sys.path:
        sys.path.append(str(root))  # at the end: a neighbour hides no installed package
    name = f"bench_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{where}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def import_from(root: Path, dotted: str, where: str) -> ModuleType:
    """Import a module that must lie under a folder; raises UsageError if another one of its name is found."""
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(dotted)
    finally:
        sys.path.remove(str(root))
    file = Path(module.__file__ or "").resolve()
    if not file.is_relative_to(root):
        raise UsageError(f"{where}: module {dotted} was found in {file}; rename the package")
    return module


def from_folder(folder: Path, where: str) -> dict[str, Found]:
    """Methods of a package's folder, installed or not, by the entry points in its ``pyproject.toml``."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise UsageError(f"{where}: found no pyproject.toml, expected a Python file or a package's folder")
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: not valid TOML ({error})") from error
    points = project.get("entry-points", {}).get(GROUP, {})
    if not points:
        raise UsageError(f"{file}: no entry point of group {GROUP!r}, so the package brings no method")
    root = (folder / "src" if (folder / "src").is_dir() else folder).resolve()
    version = str(project.get("version", "unknown"))
    return {
        name: from_target(name, target, version, where, lambda module: import_from(root, module, where))
        for name, target in points.items()
    }


def from_target(
    name: str, target: str, version: str, where: str, importer: Callable[[str], ModuleType]
) -> Found:
    """The class behind ``module:Class``, checked to be a distiller of that name."""
    module, _, attribute = target.partition(":")
    with explained(where):
        cls = getattr(importer(module), attribute, None)
    if not (isinstance(cls, type) and issubclass(cls, Distiller)):
        raise UsageError(f"{where}: entry point {name} = {target!r}: expected a subclass of Distiller")
    if getattr(cls, "name", None) != name:
        found = getattr(cls, "name", None)
        raise UsageError(f"{where}: entry point {name} leads to a method named {found!r}; make them equal")
    return Found(cls, Path(sys.modules[cls.__module__].__file__ or "").resolve(), version)


def installed() -> dict[str, EntryPoint]:
    """Entry points of installed methods by name; raises UsageError for two of one name."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in points and points[point.name].value != point.value:
            both = f"{points[point.name].value} and {point.value}"
            raise UsageError(f"two installed packages bring method {point.name!r}: {both}; remove one")
        points[point.name] = point
    return points


def from_entry_point(point: EntryPoint) -> Found:
    """An installed method; see ``explained`` and ``from_target`` for errors."""
    version = point.dist.version if point.dist else "unknown"
    where = f"method {point.name} (installed, {point.value})"
    return from_target(point.name, point.value, version, where, importlib.import_module)
