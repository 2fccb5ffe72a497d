"""How far others have verified a record, as tables show it.

``verified.json`` beside the folder of records maps the digest of a record (``record_digest`` of
``bench.report.rowid``) to a level. The digest is
of all that the record says: a record that is edited afterwards loses its level.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bench.errors import UsageError
from bench.record import Record
from bench.report.rowid import record_digest

LEVELS = ("self-reported", "re-scored", "re-trained")  # each proves more than the one before
LEDGER = "verified.json"


def read_levels(root: Path) -> dict[str, str]:
    """Levels by record digest; none where nothing was verified yet.

    Raises:
        UsageError: not an object of known levels, naming file and entry.
    """
    path = root / LEDGER
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not readable ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected an object of levels by record digest")
    for key, level in found.items():
        if level not in LEVELS:
            raise UsageError(f"{path}: key {key!r}: found {level!r}, expected one of {', '.join(LEVELS)}")
    return found


def level_of(records: Iterable[Record], levels: dict[str, str]) -> str:
    """The level that all records of a row have reached; "" for a row that was not measured here."""
    records = list(records)
    if not levels:
        return LEVELS[0] if records else ""
    found = [LEVELS.index(levels.get(record_digest(record), LEVELS[0])) for record in records]
    return LEVELS[min(found)] if found else ""
