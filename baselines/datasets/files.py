"""Files of a data set in a folder or a zip, read one at a time by name; a zip is never unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any

MEMBER = 64 << 20  # bytes of an image or a latent at most
SIDECAR = 1 << 30  # bytes of dataset.json at most: ImageNet's has 60 MB
RATIO, SMALL = 200, 1 << 20  # members that unpack to more than both are bombs, not images
BROKEN = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError)


class Files(ABC):
    """A set of files.

    Attributes:
        path: of the folder or zip; names: of its files, relative to it, sorted; hidden ones are left out.
    """

    path: Path
    names: tuple[str, ...]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Bytes of one file; raises ValueError if it cannot be read."""


class FolderFiles(Files):
    """A folder and the folders below it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        self.names = tuple(sorted(name for name in found if not hidden(name)))

    def read(self, name: str) -> bytes:
        file = self.path / name
        try:
            if file.stat().st_size > limit_of(name):
                raise ValueError(
                    f"{file}: {file.stat().st_size:,} bytes, at most {limit_of(name):,} expected"
                )
            return file.read_bytes()
        except OSError as error:
            raise ValueError(f"{file}: cannot be read ({error.strerror})") from error


class ZipFiles(Files):
    """A zip, opened once in each process; its list of files is checked before any is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: tuple[int, zipfile.ZipFile] | None = None  # process that opened it
        members = [info for info in self._archive().infolist() if not info.is_dir()]
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in members:
            if not hidden(info.filename):
                self._admit(info)
        self.names = tuple(sorted(self._members))

    def _admit(self, info: zipfile.ZipInfo) -> None:
        name, shown = info.filename, f"{self.path}: {info.filename!r}"
        if unsafe(name) or stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"{shown}: leads out of the zip; such a file is not trusted")
        if name in self._members:
            raise ValueError(f"{shown}: there twice; make the zip again")
        if info.flag_bits & 1:
            raise ValueError(f"{shown}: encrypted; make the zip again without a password")
        if info.file_size > limit_of(name) or info.file_size > max(SMALL, RATIO * info.compress_size):
            raise ValueError(
                f"{shown}: unpacks from {info.compress_size:,} to {info.file_size:,} bytes; such a file is "
                "not trusted"
            )
        self._members[name] = info

    def read(self, name: str) -> bytes:
        try:
            return self._archive().read(self._members[name])
        except BROKEN as error:
            raise ValueError(f"{self.path}: {name!r}: cannot be read ({error}); get the zip again") from error

    def _archive(self) -> zipfile.ZipFile:
        if self._open is None or self._open[0] != os.getpid():  # a place in a file is shared by forks
            try:
                self._open = os.getpid(), zipfile.ZipFile(self.path)
            except BROKEN as error:
                raise ValueError(f"{self.path}: not a readable zip ({error}); get it again") from error
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def open_files(path: Path) -> Files:
    """The files of a folder or zip.

    Raises:
        ValueError: neither of both, unreadable, or a zip with members that are not trusted.
    """
    if path.is_dir():
        return FolderFiles(path)
    if not path.is_file() or path.suffix.lower() != ".zip":
        found = "found another kind of file" if path.exists() else "found nothing"
        raise ValueError(f"{path}: expected a folder or a .zip of images, {found}")
    return ZipFiles(path)


def hidden(name: str) -> bool:
    """Whether a file is not of the data: hidden, or added to zips by macOS."""
    parts = PurePosixPath(name).parts
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)


def unsafe(name: str) -> bool:
    """Whether a name leads, or could be read to lead, out of its folder."""
    drive = len(name) > 1 and name[1] == ":"
    return name.startswith("/") or "\\" in name or drive or ".." in PurePosixPath(name).parts


def limit_of(name: str) -> int:
    """Bytes that a file may have."""
    return SIDECAR if name == "dataset.json" else MEMBER
