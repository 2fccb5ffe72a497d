"""Names of rows that a paper can cite: ``gmm2d@1.0/sid/standard/nfe1:3f2a9c1e``.

The part before the colon says what the row is and never depends on other rows. The eight digits after it are
of the records behind the number: with another training seed or after another run they are others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from bench.record import Record, Row
from bench.store import digest

DIGITS = 8  # of the digest that an id shows
UNSAFE = re.compile(r"[^A-Za-z0-9@.,=+_\[\]-]+")
ROW_ID = re.compile(r"[A-Za-z0-9_-]+@\d+\.\d+/[A-Za-z0-9@.,=+_\[\]-]+/[\w-]+/\w+(?::[0-9a-f]{8})?", re.ASCII)

Members = Sequence[tuple[Record, Row | None]]


def row_id(members: Members, digests: dict[int, str]) -> str:
    """The id of the row that these records make.

    Args:
        members: record and row of each training seed.
        digests: of the records, by ``id(record)``.
    """
    record, row = members[0]
    version = ".".join(record.suite_version.split(".")[:2])
    scope = record.budget if record.kind == "student" else record.kind  # references train nothing
    suite = f"{slug(record.suite)}@{version}"
    name = "/".join((suite, slug(record.label), slug(scope), count_of(members[0])))
    parts = [name, str(row and row.steps), *sorted(digests[id(record)] for record, _ in members)]
    return f"{name}:{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:DIGITS]}"


def count_of(member: tuple[Record, Row | None]) -> str:
    """``nfe4``; the status of a record without rows."""
    record, row = member
    return record.status if row is None else f"nfe{row.nfe}"


def name_of(identifier: str) -> str:
    """A row's id without its digest."""
    return identifier.partition(":")[0]


def slug(label: str) -> str:
    """A label in the characters of an id; what does not fit becomes a dash, told apart by a digest."""
    kept = UNSAFE.sub("-", label)
    return kept if kept == label and label else f"{kept}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def record_digest(record: Record) -> str:
    """sha256 of what a record says; fields at their defaults do not count, so new ones move nothing."""
    return digest(record.model_dump(mode="json", exclude_defaults=True))
