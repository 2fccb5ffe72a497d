"""Method selectors ``name[option=value,...]`` as typed on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.errors import UsageError

PRESET = "preset"  # the option that names a preset of the method; no field of a Config
WEIGHTS = "weights"  # the option that names a published student; no field either
PATTERN = re.compile(r"^(?P<name>[A-Za-z0-9_.:-]+)(?:\[(?P<options>[^\[\]]*)\])?$")


@dataclass(frozen=True)
class Selector:
    """A method name and the options set on it (still strings; the method's Config gives them types)."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Canonical form: options in alphabetical order."""
        inner = ",".join(f"{key}={value}" for key, value in sorted(self.options))
        return f"{self.name}[{inner}]" if inner else self.name


def parse_selector(text: str) -> Selector:
    """Parse one selector.

    Raises:
        UsageError: not of the form, a repeated option, or an option without value.
    """
    match = PATTERN.match(text.strip())
    if match is None:
        raise UsageError(f"--method {text!r}: expected name or name[option=value,option=value]")
    options: dict[str, str] = {}
    for part in filter(None, (match["options"] or "").split(",")):
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if not (key and sign and value):
            raise UsageError(f"--method {text!r}: option {part!r} is not of the form option=value")
        if key in options:
            raise UsageError(f"--method {text!r}: option {key!r} is set twice")
        options[key] = value
    return Selector(match["name"], tuple(sorted(options.items())))
