"""From a selector to a method class and its typed options: built-ins, entry points, ``--plugin PATH``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from baselines.distiller import Distiller
from bench.catalog import METHODS, canonical_name
from bench.closure import closure_digest
from bench.errors import UsageError, asked, mismatch, unknown
from bench.plugins.groups import METHODS as GROUP
from bench.plugins.groups import installed
from bench.plugins.loading import METHOD, Found, Plugins, from_entry_point, load_plugins
from bench.selector import PRESET, Selector


@dataclass(frozen=True)
class Method:
    """A method ready to run.

    Attributes:
        cls: the distiller; closure_sha256: digest of its source and of all it imports in the project.
        version: of the package that brings it.
        base: name of the method that it wraps, if it is a wrapper bound to one.
        ships: it is part of this distribution (else its cells run in processes of their own).
        given: path of the ``--plugin`` that brings it, if one does.
    """

    cls: type[Distiller]
    closure_sha256: str
    version: str
    base: str = ""
    ships: bool = True
    given: Path | None = None


class MethodRegistry:
    """All methods that can be named: built-ins, installed entry points, and plugin files."""

    def __init__(self, plugins: tuple[Path, ...] | Plugins = ()) -> None:
        loaded = plugins if isinstance(plugins, Plugins) else load_plugins(plugins)
        self.plugins = loaded.methods
        self.installed = installed(GROUP)
        clash = set(METHODS) & (set(self.plugins) | set(self.installed))
        if clash:
            raise UsageError(f"plugin method {sorted(clash)[0]!r} has the name of a built-in one; rename it")

    def names(self) -> list[str]:
        """Every known name."""
        return sorted({*METHODS, *self.plugins, *self.installed})

    def find(self, name: str) -> Method:
        """A method by name or alias; raises UsageError naming the nearest one."""
        name = canonical_name(name)
        if name in self.plugins:  # what the command line gives goes before what is installed
            return brought(self.plugins[name])
        if name in METHODS:
            module = METHODS[name].target.partition(":")[0]
            return Method(built_in(name), closure_digest(module), _package_version())
        if name in self.installed:
            return brought(from_entry_point(METHOD, self.installed[name]))
        raise unknown("method", name, self.names())

    def resolve(self, selector: Selector) -> tuple[Method, Selector]:
        """The method of a selector, a wrapper bound to its base, and the selector without aliases.

        Raises:
            UsageError: an unknown name or base (nearest named), or a wrapper without its base.
        """
        method = self.find(selector.name)
        name, options = method.cls.name, dict(selector.options)
        bases = METHODS[name].wraps if name in METHODS else ()
        if not bases:
            return method, Selector(name, selector.options)
        if "base" not in options:
            raise UsageError(
                f"method {name} wraps another method: found no base, expected {name}[base=NAME] "
                f"with one of {', '.join(bases)}"
            )
        options["base"] = base = canonical_name(options["base"])
        if base not in bases:
            raise unknown(f"base of {name}", base, bases)
        return bound(name, base), Selector(name, tuple(sorted(options.items())))


def brought(found: Found[Distiller]) -> Method:
    """A method that somebody else brings."""
    digest = closure_digest(found.source)
    return Method(found.cls, digest, found.version, ships=False, given=found.given)


def built_in(name: str) -> Any:
    """Class of a method that ships."""
    module, _, attribute = METHODS[name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def bound(wrapper: str, base: str) -> Method:
    """A wrapper that ships over a base that ships; the digest covers the sources of both."""
    modules = [METHODS[name].target.partition(":")[0] for name in (wrapper, base)]
    cls = built_in(wrapper).bind(built_in(base))
    return Method(cls, closure_digest(*modules), _package_version(), base)


def _package_version() -> str:
    import bench

    return bench.__version__


def typed(text: str) -> int | float | str:
    """An option's text as the number it spells, if it does (``steps=4`` must be one of ``1, 2, 4``)."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def typed_options(method: Method, preset: dict[str, Any], selector: Selector) -> Any:
    """The method's Config from a preset's options, overridden by the selector.

    Raises:
        UsageError: an unknown option (nearest named) or a value of the wrong type or range.
    """
    fields = method.cls.Config.model_fields
    values = dict(preset)
    for key, text in selector.options:
        if key == PRESET:  # its values are in ``preset``
            continue
        if key not in fields:
            raise unknown(f"option of {selector.name}", key, fields)
        many = "tuple" in str(fields[key].annotation)
        values[key] = tuple(map(typed, text.split("+"))) if many else typed(text)
    try:
        return method.cls.Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            raise unknown(f"option of {selector.name}", key, fields, "suite preset") from error
        # no key: a rule about several of them
        broken = f"option {key!r}: {mismatch(first)}" if key else asked(first)
        raise UsageError(f"method {selector.name}: {broken}") from error
