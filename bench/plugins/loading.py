"""Methods and metrics of others: from a Python file, the folder of a package, or installed as an entry point.

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
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from baselines.distiller import Distiller
from bench.budget import StepTimeout, watchdog
from bench.closure import package_root
from bench.errors import UsageError
from bench.plugins.groups import METHODS, METRICS
from bench.plugins.guard import Guard
from metrics.plugin import Metric

IMPORT_SECONDS = 60.0
Piece = TypeVar("Piece", Distiller, Metric)


@dataclass(frozen=True)
class Kind(Generic[Piece]):
    """A kind of thing that plugins bring: its entry-point group, its class, and the word for it."""

    group: str
    base: type
    word: str


METHOD = Kind[Distiller](METHODS, Distiller, "method")
METRIC = Kind[Metric](METRICS, Metric, "metric")


@dataclass(frozen=True)
class Found(Generic[Piece]):
    """A method or metric that a plugin brings.

    Attributes:
        source: the file that defines it.
        version: of the package that brings it, "plugin" for a lone file.
        given: path of the ``--plugin`` that brings it, if one does.
    """

    cls: type[Piece]
    source: Path
    version: str
    given: Path | None = None


@dataclass(frozen=True)
class Plugins:
    """What one or several plugins bring, by name."""

    methods: dict[str, Found[Distiller]] = field(default_factory=dict)
    metrics: dict[str, Found[Metric]] = field(default_factory=dict)


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


def load_plugins(paths: tuple[Path, ...]) -> Plugins:
    """What all plugins of a command bring.

    Raises:
        UsageError: see ``load_plugin``; two methods or two metrics of one name.
    """
    whole = Plugins()
    for path in paths:
        brought = load_plugin(path)
        for kind, found, known in (
            (METHOD, brought.methods, whole.methods), (METRIC, brought.metrics, whole.metrics),
        ):  # fmt: skip
            for name in sorted(found.keys() & known.keys()):
                first = known[name].given
                raise UsageError(f"--plugin {path}: {kind.word} {name!r} is also in {first}; rename one")
        whole.methods.update(brought.methods)
        whole.metrics.update(brought.metrics)
    return whole


def load_plugin(path: Path) -> Plugins:
    """What a plugin file brings, or a package's folder (with its ``pyproject.toml``).

    Raises:
        UsageError: nothing there, it raises on import, or it brings neither method nor metric.
    """
    where = f"--plugin {path}"
    if path.is_dir():
        return from_folder(path, where)
    if not path.is_file():
        raise UsageError(f"{where}: no such file")
    with explained(where):
        module = import_file(path.resolve(), where)
    brought = Plugins(defined(METHOD, module, path.resolve()), defined(METRIC, module, path.resolve()))
    if not brought.methods and not brought.metrics:
        raise UsageError(
            f"{where}: defines neither a method, a subclass of baselines.distiller.Distiller with a name, "
            "nor a metric, one of metrics.plugin.Metric"
        )
    return brought


def load_methods(path: Path) -> dict[str, Found[Distiller]]:
    """Methods by name of a plugin; see ``load_plugin``."""
    return load_plugin(path).methods


def defined(kind: Kind[Piece], module: ModuleType, path: Path) -> dict[str, Found[Piece]]:
    """The classes of a kind that a module defines under a name, not those that it imports."""
    own: list[Any] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind.base) and value.__module__ == module.__name__
    ]
    named = [cls for cls in own if isinstance(getattr(cls, "name", None), str)]
    return {cls.name: Found(cls, path, "plugin", path) for cls in named}


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


def from_folder(folder: Path, where: str) -> Plugins:
    """What a package's folder brings, installed or not, by the entry points in its ``pyproject.toml``."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise UsageError(f"{where}: found no pyproject.toml, expected a Python file or a package's folder")
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: not valid TOML ({error})") from error
    groups = project.get("entry-points", {})
    if not groups.get(METHODS) and not groups.get(METRICS):
        raise UsageError(
            f"{file}: no entry point of group {METHODS!r} or {METRICS!r}, "
            "so the package brings no method and no metric"
        )
    root = (folder / "src" if (folder / "src").is_dir() else folder).resolve()
    version = str(project.get("version", "unknown"))

    def pieces(kind: Kind[Piece]) -> dict[str, Found[Piece]]:
        return {
            name: from_target(
                kind, name, target, version, where, lambda m: import_from(root, m, where), folder
            )
            for name, target in groups.get(kind.group, {}).items()
        }

    return Plugins(pieces(METHOD), pieces(METRIC))


def from_target(
    kind: Kind[Piece],
    name: str,
    target: str,
    version: str,
    where: str,
    importer: Callable[[str], ModuleType],
    given: Path | None = None,
) -> Found[Piece]:
    """The class behind ``module:Class``, checked to be of the kind and of that name."""
    module, _, attribute = target.partition(":")
    with explained(where):
        cls: Any = getattr(importer(module), attribute, None)
    fits = isinstance(cls, type) and issubclass(cls, kind.base)
    if not fits:
        raise UsageError(
            f"{where}: entry point {name} = {target!r}: expected a subclass of {kind.base.__name__}"
        )
    if getattr(cls, "name", None) != name:
        found = getattr(cls, "name", None)
        raise UsageError(
            f"{where}: entry point {name} leads to a {kind.word} named {found!r}; make them equal"
        )
    source = Path(sys.modules[cls.__module__].__file__ or "").resolve()
    return Found(cls, source, version, given.resolve() if given else None)


def from_entry_point(kind: Kind[Piece], point: EntryPoint) -> Found[Piece]:
    """An installed method or metric; see ``explained`` and ``from_target`` for errors."""
    version = point.dist.version if point.dist else "unknown"
    where = f"{kind.word} {point.name} (installed, {point.value})"
    return from_target(kind, point.name, point.value, version, where, importlib.import_module)
