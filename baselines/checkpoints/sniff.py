"""What a file is, by its first bytes, never by its name."""

from __future__ import annotations

import hashlib
from enum import Enum
from pathlib import Path

from baselines.checkpoints.errors import CheckpointError

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled
HEADER = 2**30  # bytes; safetensors headers are far below


class Format(Enum):
    """Containers of published weights."""

    PICKLE = "pickle"
    TORCH = "torch"
    SAFETENSORS = "safetensors"


def sniff(path: Path) -> Format:
    """The container of a weight file; raises CheckpointError for pages, pointers and unknown bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise CheckpointError(f"{path}: the file is empty; fetch it again")
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise CheckpointError(
            f"{path}: the file is a web page, not weights; the address needs a login or a direct link"
        )
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: the file is a Git LFS pointer, not weights; fetch the file it names")
    if head.startswith((b"PK\x03\x04", LEGACY_TORCH)):
        return Format.TORCH
    if head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5:
        return Format.PICKLE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < HEADER:
        return Format.SAFETENSORS
    raise CheckpointError(f"{path}: neither a pickle, nor a torch file, nor safetensors; expected weights")


def file_digest(path: Path) -> str:
    """sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
