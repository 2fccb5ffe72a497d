"""The protocols that ship, by id, and protocol files of users."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from metrics.protocols.record import Protocol


@cache
def shipped_protocols() -> dict[str, Protocol]:
    """Every protocol that ships, sorted by id."""
    folder = resources.files("metrics") / "protocols"
    files = [item for item in folder.iterdir() if item.name.endswith(".toml")]
    found = [parse(item.read_text(encoding="utf-8"), item.name) for item in files]
    return {protocol.id: protocol for protocol in sorted(found, key=lambda each: each.id)}


def read_protocol(path: Path) -> Protocol:
    """A protocol from a TOML file of one's own.

    Raises:
        ValueError: unreadable, a key that breaks the schema, or a shipped protocol's id with other fields.
    """
    try:
        protocol = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read the protocol file ({error})") from error
    known = shipped_protocols().get(protocol.id)
    if known and known.fields() != protocol.fields():
        raise ValueError(
            f"{path}: {protocol.id} is the id of a protocol that ships and differs from it; "
            "a change of a field needs an id of its own"
        )
    return protocol


def parse(text: str, name: str) -> Protocol:
    """A protocol from TOML; ``name`` names the file in errors.

    Raises:
        ValueError: not TOML, or a key that breaks the schema.
    """
    try:
        return Protocol.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name}: not valid TOML ({error})") from error
    except ValidationError as error:
        errors = error.errors()  # a misspelt key is the cause of the missing one
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{name}: unknown key {key!r}") from error
        missing = first["type"] == "missing"
        found, wanted = ("nothing", "a value") if missing else (repr(first["input"])[:80], first["msg"])
        where = f"key {key!r}: found {found}, expected " if key else ""
        wanted = wanted.removeprefix("Input should be ").removeprefix("Value error, ")
        raise ValueError(f"{name}: {where}{wanted}") from error
