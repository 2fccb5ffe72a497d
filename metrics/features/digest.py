"""Weights files: proven to be those asked for before anything is read from them, and refused if unfit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def checked_digest(extractor: str, weights: Path, sha256: str | None) -> str:
    """sha256 of the file; where ``sha256`` is given the two are equal.

    Raises:
        ValueError: no such file, or another digest than ``sha256``; the message shows both.
    """
    if not weights.is_file():
        raise ValueError(
            f"extractor {extractor}: {weights} is not a file; expected weights with sha256 {sha256 or 'any'}"
        )
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(
            f"extractor {extractor}: {weights} has sha256 {found}, expected {sha256}; the file is damaged or "
            "is another network's: fetch it again, or state its own digest"
        )
    return found


def recorded_digest(weights: Path) -> str | None:
    """The sha256 that the record of a training beside the weights states; None without one."""
    record = weights.with_suffix(".json")
    return json.loads(record.read_text(encoding="utf-8"))["sha256"] if record.is_file() else None


def misfit(extractor: str, weights: Path, wanted: str, error: Exception) -> ValueError:
    """The error of a file whose digest is right and whose tensors are not; the first of many reasons."""
    reason = " ".join(str(error).split())[:300]
    return ValueError(f"extractor {extractor}: {weights} does not fit {wanted}: {reason}")
