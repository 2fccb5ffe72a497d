"""Whether a file is whole and of the kind that its name says, by its first and last bytes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml")
STARTS = {".pkl": b"\x80", ".gz": b"\x1f\x8b", ".zip": b"PK", ".npz": b"PK"}
PICKLE_END = b"."


def check_form(path: Path, name: str) -> None:
    """Raise ValueError unless the file at ``path`` can be the one that is published as ``name``.

    An HTML page in place of the file and files that were cut short are found out; content is not judged.
    """
    suffix = Path(name).suffix.lower()
    with path.open("rb") as stream:
        head = stream.read(64)
        stream.seek(max(0, path.stat().st_size - 1))
        last = stream.read()
    if not head:
        raise ValueError("the file is empty")
    if head.lstrip().lower().startswith(HTML):
        raise ValueError("it is an HTML page, not the file; the address may ask for a login or be gone")
    if not head.startswith(STARTS.get(suffix, b"")):
        raise ValueError(f"it does not begin as a {suffix} file does")
    if suffix == ".pkl" and last != PICKLE_END:
        raise ValueError("it is a pickle that ends too early")
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise ValueError("it is a zip that ends too early")
    if suffix == ".safetensors":
        check_safetensors(path)


def check_safetensors(path: Path) -> None:
    """Raise ValueError unless the tensors that the header names fill the file exactly."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ValueError("it does not begin as a .safetensors file does")
        try:
            header = json.loads(stream.read(length))
            ends = [part["data_offsets"][1] for key, part in header.items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError("its header is not that of a .safetensors file") from error
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("it is a .safetensors file that ends too early or too late")
