"""A file that is being fetched, with what is known of its source, so that a later attempt can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from bench.assets.store import unwritable


@dataclass(frozen=True)
class Mark:
    """What the server said of a file when its transfer began.

    Attributes:
        etag: strong validator; modified: date, the weaker one; total: bytes; None where it did not say.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` takes."""
        return self.etag or self.modified


class Partial:
    """Bytes ``NAME.part`` and their mark ``NAME.part.json``; errors of the disk are AssetErrors."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        self.mark_path = path.with_name(path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def mark(self) -> Mark | None:
        """The mark, None if there is none or it cannot be read."""
        try:
            return Mark(**json.loads(self.mark_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, mark: Mark) -> None:
        """Start from nothing."""
        with self.guarded():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(b"")
            self.mark_path.write_text(json.dumps(asdict(mark)), encoding="utf-8")

    @contextmanager
    def appending(self) -> Iterator[FileIO]:
        """The file, open at its end and unbuffered: what was written is kept whatever happens next."""
        with self.guarded():
            file = FileIO(self.path, "a")
        try:
            yield file
            with self.guarded():
                os.fsync(file.fileno())
        finally:
            file.close()

    def write(self, file: FileIO, data: bytes) -> None:
        """Append all of the bytes."""
        with self.guarded():
            write_all(file, data)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Drop everything if the disk refuses, so that a full one is not left full."""
        try:
            yield
        except OSError as error:
            self.drop()
            raise unwritable(self.root, error) from error

    def drop(self) -> None:
        """Remove both files, as far as the disk lets us."""
        for path in (self.path, self.mark_path):
            try:
                path.unlink(missing_ok=True)
            except OSError:  # a read-only disk: the error that led here is the one to show
                return


def write_all(file: FileIO, data: bytes) -> None:
    """Write every byte; one call of the system may take fewer."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
