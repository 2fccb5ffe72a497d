"""The cache of assets: where each file lies, whether it is there, and whether it is the right one."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from bench.assets.formats import check_form
from bench.assets.ledger import NAME, Known, Ledger
from bench.assets.places import cache_root, hub_root, in_hub
from bench.assets.registry import Asset
from bench.errors import AssetError

State = Literal["present", "unverified", "partial", "missing"]


@dataclass(frozen=True)
class AssetStore:
    """A cache folder: ``files/ID/NAME`` holds whole, verified files only; transfers lie in ``partial``.

    Attributes:
        root: of the cache; hub: cache of the Hugging Face hub, where files are found but never put.
    """

    root: Path
    hub: Path

    @staticmethod
    def default() -> AssetStore:
        """The one that the environment names; see ``bench.assets.places``."""
        return AssetStore(cache_root(), hub_root())

    def path(self, asset: Asset) -> Path:
        """Where the file is kept, and where to put it by hand."""
        return self.root / "files" / asset.id / asset.file

    def partial(self, asset: Asset) -> Path:
        """Where its transfer is collected."""
        return self.root / "partial" / f"{asset.id.replace('/', '--')}.part"

    def locate(self, asset: Asset) -> Path | None:
        """The file, or the folder, if it is here or in the hub's cache; not verified."""
        own = self.path(asset)
        if own.is_file() if asset.file else own.is_dir():
            return own
        return in_hub(asset, self.hub)

    def state(self, asset: Asset, ledger: Ledger) -> State:
        """What is known without reading the file."""
        found = self.locate(asset)
        if found is None:
            return "partial" if self.partial(asset).is_file() else "missing"
        known = ledger.files.get(asset.id)
        return "present" if found.is_dir() or (known and known.same(found.stat())) else "unverified"

    def verified(self, asset: Asset) -> Path | None:
        """The file, if it is there and the right one; it is read only if it changed since it was verified.

        Raises:
            AssetError: it is not the right one; the message shows both digests.
        """
        found = self.locate(asset)
        if found is None or found.is_dir():
            return found
        known = self.ledger().files.get(asset.id)
        if known is None or not known.same(found.stat()):
            self.record(asset, found, self.check(asset, found, str(found)), "by hand")
        return found

    def check(self, asset: Asset, path: Path, shown: str) -> str:
        """sha256 of a file that can be this asset; ``shown`` says in errors where it is or came from.

        Raises:
            AssetError: wrong size, form or digest; the digest expected is the published, else the first used.
        """
        size = path.stat().st_size
        try:
            check_form(path, asset.file)
        except ValueError as error:
            raise AssetError(f"{asset.id}: {shown} ({size:,} bytes): {error}") from error
        if asset.size is not None and size != asset.size:
            raise AssetError(f"{asset.id}: {shown} has {size:,} bytes, expected {asset.size:,}")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        known = self.ledger().files.get(asset.id)
        if asset.sha256 and found != asset.sha256:
            raise AssetError(
                f"{asset.id}: sha256 found {found}, expected {asset.sha256} (published): {shown}"
            )
        if not asset.sha256 and known and found != known.sha256:
            raise AssetError(
                f"{asset.id}: sha256 found {found}, expected {known.sha256} (of its first use, in "
                f"{self.root / NAME}; if the publisher replaced the file, remove that entry): {shown}"
            )
        return found

    def admit(self, asset: Asset, partial: Path, source: str) -> Path:
        """Verify a finished transfer and give it its final name; see ``check`` for errors."""
        digest = self.check(asset, partial, source)
        final = self.path(asset)
        with self.writable():
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(final)
        self.record(asset, final, digest, source)
        return final

    def ledger(self) -> Ledger:
        """The lock file as it is now."""
        return Ledger.read(self.root)

    def record(self, asset: Asset, path: Path, digest: str, source: str) -> None:
        """Note a verified file; in a cache that cannot be written the file is verified anew each time."""
        stat = path.stat()
        known = Known(digest, stat.st_size, stat.st_mtime_ns, source)
        nearest = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if os.access(nearest, os.W_OK):
            self.change(lambda ledger: ledger.files.update({asset.id: known}))

    def change(self, edit: Callable[[Ledger], object]) -> None:
        """Read, edit and write the lock file, alone."""
        with self.alone("ledger"):
            ledger = self.ledger()
            edit(ledger)
            with self.writable():
                ledger.write(self.root)

    @contextmanager
    def alone(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep other processes out of one part of the cache; ``waiting`` is called if one is in it."""
        path = self.root / "locks" / f"{name.replace('/', '--')}.lock"
        with self.writable():
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                waiting()
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Turn a failure to write into an error that says what to do."""
        try:
            yield
        except OSError as error:
            raise unwritable(self.root, error) from error


def unwritable(root: Path, error: OSError) -> AssetError:
    """The error of a cache that is full, read-only or not a folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AssetError(f"{root}: the disk is full; free space, or set BENCH_CACHE to a folder elsewhere")
    reason = error.strerror or str(error)
    return AssetError(f"{root}: the cache cannot be written ({reason}); set BENCH_CACHE to a folder that can")
