"""Protocols explained, and the fields in which two of them differ, as plain text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError, unknown
from bench.references import entry
from bench.report.describe import block
from bench.suite import Suite
from metrics.protocols.record import Protocol
from metrics.protocols.registry import read_protocol, shipped_protocols

TITLE = re.compile(r"^  title = \{\{(.*)\}\},$", re.MULTILINE)


def find_protocol(name: str) -> Protocol:
    """A shipped protocol by id, or a protocol file (``*.toml``).

    Raises:
        UsageError: unknown id, with the nearest one, or a broken file.
    """
    if name.endswith(".toml"):
        try:
            return read_protocol(Path(name))
        except ValueError as error:
            raise UsageError(str(error)) from error
    if name not in shipped_protocols():
        raise unknown("protocol", name, shipped_protocols())
    return shipped_protocols()[name]


def is_protocol_file(path: Path) -> bool:
    """Whether a TOML file holds a protocol: it has an ``id`` of its own, a suite has a ``name``."""
    try:
        return "id" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # the reader of suite files says what is wrong


def protocol_text(protocol: Protocol, suites: Sequence[Suite] = ()) -> str:
    """Every field of a protocol, whether it is final, the papers that used it, the suites that use it."""
    facts = [(name, value_text(value)) for name, value in protocol.fields().items()]
    doubt = protocol.provisional()
    state = f"provisional: {doubt}" if doubt else "final: every file it rests on is pinned"
    parts = [f"protocol {protocol.id}: {protocol.title}", f"  {state}", block(facts)]
    if protocol.adapted:
        parts += ["Departs from the papers' programs", *(f"  {line}" for line in protocol.adapted)]
    papers = [(key, paper_title(key)) for key in protocol.used_by]
    parts += ["Used by", block(papers) if papers else "  no paper: a protocol of this bench"]
    users = [suite for suite in suites if suite.protocol.id == protocol.id]
    lines = [(s.id, f"ranks by {s.primary}; curves: {curve_text(s)}") for s in users]
    return "\n".join([*parts, *(["Suites", block(lines)] if lines else [])])


def curve_text(suite: Suite) -> str:
    """The smaller protocol of a suite's curves."""
    return f"{suite.protocol.curve_samples} samples, seed {suite.protocol.curve_seed}"


def paper_title(key: str) -> str:
    """Title of an entry of the bibliography."""
    found = TITLE.search(entry(key))
    return found[1] if found else key


def value_text(value: Any) -> str:
    """A field's value: lists joined, yes and no, nothing as a dash; a space at an end is made visible."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "-" if value is None else str(value)
    return repr(text) if text != text.strip() else text
