"""Captions of a text-to-image protocol: one a line, in the order of the images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from metrics.protocols.record import Protocol
from metrics.reference import WrongFile


def read_captions(path: Path, protocol: Protocol) -> list[str]:
    """The captions of a file: as many as the protocol's list has, or as it has samples.

    Raises:
        WrongFile: not the file whose digest the protocol pins; shows both.
        ValueError: unreadable, an empty line, or another number of captions than of images.
    """
    try:
        data = path.read_bytes()
        lines = data.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read the captions ({error}); expected UTF-8, one a line") from error
    sampling = protocol.sampling
    if sampling is None or sampling.labels != "captions":
        raise ValueError(f"{path}: {protocol.id} has no captions")
    wanted = (sampling.prompts and sampling.prompts.count) or sampling.samples
    if len(lines) != wanted:
        raise ValueError(
            f"{path}: {len(lines)} captions for the {wanted} images of {protocol.id}; "
            "expected one a line, in the order of the images"
        )
    empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None:
        raise ValueError(f"{path}: line {empty} is empty; expected a caption")
    found = hashlib.sha256(data).hexdigest()
    if sampling.prompts and sampling.prompts.sha256 not in (None, found):
        raise WrongFile(
            f"{path}: sha256 found {found}, {protocol.id} expects {sampling.prompts.sha256} "
            f"({sampling.prompts.id}); captions of another list or order do not belong to its images"
        )
    return lines
