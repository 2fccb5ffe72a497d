"""Captions of a text-to-image protocol, in the order of the images: one a line, or the list in DMD2's zip."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from metrics.protocols.record import Protocol
from metrics.reference import ArraysOnly, WrongFile

LIST = "all_prompts.pkl"  # a pickled list, beside its pictures


def read_captions(path: Path, protocol: Protocol) -> list[str]:
    """The captions of a file: as many as the protocol's list has, or as it has samples.

    Raises:
        WrongFile: not the file whose digest the protocol pins; shows both.
        ValueError: unreadable, an empty caption, or another number of captions than of images.
    """
    lines = zipped(path) if path.suffix == ".zip" else text_lines(path)
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
    if sampling.prompts and (pinned := sampling.prompts.sha256):
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != pinned:
            raise WrongFile(
                f"{path}: sha256 found {found}, {protocol.id} expects {pinned} "
                f"({sampling.prompts.id}); captions of another list or order do not belong to its images"
            )
    return lines


def text_lines(path: Path) -> list[str]:
    """Captions of a text file; raises ValueError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read the captions ({error}); expected UTF-8, one a line") from error


def zipped(path: Path) -> list[str]:
    """Captions of the pickled list in a zip; nothing in it is executed.

    Raises:
        ValueError: no zip, not one list of that name, or something else in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == LIST]
            found = [ArraysOnly(io.BytesIO(archive.read(name))).load() for name in names]
    except Exception as error:  # unpickling garbage can raise anything
        raise ValueError(f"{path}: cannot read the captions ({error}); expected a zip with {LIST}") from error
    if len(found) != 1:
        raise ValueError(f"{path}: {len(found)} files {LIST}; expected one, the list of captions")
    if not isinstance(found[0], list) or not all(isinstance(text, str) for text in found[0]):
        raise ValueError(f"{path}: {LIST} holds {type(found[0]).__name__}, expected a list of captions")
    return found[0]
