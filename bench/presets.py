"""Named presets: settings of the papers' own runs, as data in ``bench/presets/<method>.toml``.

A selector takes one with ``method[preset=NAME]`` in place of the suite's preset. Batch, average and options
are applied; length and precision are stated only, since the suite owns the budget and training is in fp32.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bench.errors import UsageError, mismatch, unknown
from bench.parts import Part
from bench.references import entry
from bench.suite_presets import Preset

FOLDER = resources.files("bench") / "presets"
Checked = TypeVar("Checked", bound=BaseModel)


class NamedPreset(Part):
    """Settings of one run of a paper."""

    batch: int = Field(gt=0, description="samples per batch")
    ema_half_life: float = Field(
        ge=0, description="of the evaluation average, images; 0 evaluates live weights"
    )
    ema_ramp: float | None = Field(
        None, gt=0, description="half-life is at most this share of the images seen; absent: no ramp"
    )
    kimg: float | None = Field(None, gt=0, description="length of the run, thousands of images; not applied")
    iterations: int | None = Field(None, gt=0, description="length of the run instead; not applied")
    precision: str = Field(description="of the run; not applied")
    options: dict[str, Any] = Field(description="fields of the method's Config")
    paper: str = Field(description="BibTeX key of the paper whose run it is")
    source: str = Field(description="table, section or file that states the values")
    unverified: tuple[str, ...] = Field(
        (), description="settings whose value was not seen in the paper or its authors' code"
    )
    notes: tuple[str, ...] = Field((), description="what the options cannot express")

    def settings(self) -> dict[str, Any]:
        """Every value that is set, options last."""
        own = self.model_dump(
            include={"batch", "ema_half_life", "ema_ramp", "kimg", "iterations", "precision"}
        )
        return {**{key: value for key, value in own.items() if value is not None}, **self.options}

    def as_preset(self, name: str) -> Preset:
        """What a run on a suite takes from it."""
        return Preset(
            batch=self.batch,
            ema_half_life=self.ema_half_life,
            ema_ramp=self.ema_ramp,
            options=self.options,
            tuning=f"none on this suite: preset {name} ({self.source})",
        )


def named_presets(method: str, config: type[BaseModel]) -> dict[str, NamedPreset]:
    """Named presets of a method, in the order of its file; none if it has no file.

    Args:
        config: the method's Config, which the options must satisfy.

    Raises:
        UsageError: see ``parse_presets``.
    """
    file = FOLDER / f"{method}.toml"
    return parse_presets(file, config) if file.is_file() else {}


def find_preset(method: str, config: type[BaseModel], name: str) -> NamedPreset:
    """One named preset; raises UsageError naming the nearest one."""
    known = named_presets(method, config)
    if not known:
        raise UsageError(f"method {method} has no named presets: found preset={name}; leave it out")
    if name not in known:
        raise unknown(f"preset of {method}", name, known)
    return known[name]


def parse_presets(file: Traversable, config: type[BaseModel]) -> dict[str, NamedPreset]:
    """Read one preset file.

    Raises:
        UsageError: not TOML, or a key, option, BibTeX key or name of an unverified value that is not known
            (nearest named), or a value out of its range.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: not valid TOML ({error})") from error
    return {name: parse_preset(f"{file}: [{name}]", table, config) for name, table in tables.items()}


def parse_preset(where: str, table: Any, config: type[BaseModel]) -> NamedPreset:
    """One table of a preset file; ``where`` begins messages. See ``parse_presets`` for errors."""
    preset = checked(where, table, NamedPreset)
    checked(f"{where}.options", preset.options, config)
    entry(preset.paper)
    if (preset.kimg is None) == (preset.iterations is None):
        raise UsageError(f"{where}: found both or none of 'kimg' and 'iterations', expected one of them")
    for name in preset.unverified:
        if name not in preset.settings():
            raise unknown("setting", name, preset.settings(), f"{where}: key 'unverified'")
    return preset


def checked(where: str, values: Any, kind: type[Checked]) -> Checked:
    """Values as a typed object; raises UsageError for the first broken key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        errors = error.errors()  # a misspelt key is the cause of the missing one
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown("key", key, kind.model_fields, where) from error
        named = f": key {key!r}" if key else ""  # no key: a rule about several of them
        raise UsageError(f"{where}{named}: {mismatch(first)}") from error
