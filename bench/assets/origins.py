"""Where files come from: their published address, a mirror on the web, or a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.assets.partial import Mark, Partial
from bench.assets.registry import Asset
from bench.assets.transfer import CHUNK, PATIENCE, Download, Patience
from bench.errors import AssetError, UsageError

Report = Callable[[int, int | None], None]


class Origin(ABC):
    """A place that may have an asset.

    Attributes:
        remote: whether reaching it needs the network.
    """

    remote: bool

    @abstractmethod
    def address(self, asset: Asset) -> str | None:
        """Where it has the file; None if it cannot have it."""

    @abstractmethod
    def bring(self, asset: Asset, partial: Partial, proven: bool, report: Report) -> None:
        """Bring the whole file into ``partial``; raises AssetError."""


@dataclass(frozen=True)
class Web(Origin):
    """The published addresses, or a mirror that has every file at ``MIRROR/ID/NAME``."""

    mirror: str | None = None
    patience: Patience = PATIENCE
    remote = True

    def address(self, asset: Asset) -> str | None:
        if self.mirror is not None:
            return f"{self.mirror.rstrip('/')}/{quote(f'{asset.id}/{asset.file}')}" if asset.file else None
        return asset.url if asset.fetch == "direct" else None

    def bring(self, asset: Asset, partial: Partial, proven: bool, report: Report) -> None:
        url = self.address(asset)
        assert url is not None
        try:
            Download(url, partial, asset.size, proven, self.patience, report).run()
        except AssetError as error:
            raise AssetError(f"{asset.id}: {error}") from error


@dataclass(frozen=True)
class Folder(Origin):
    """A folder, such as another cache's ``files``, that has every file at ``FOLDER/ID/NAME``."""

    path: Path
    remote = False

    def address(self, asset: Asset) -> str | None:
        return str(self.path / asset.id / asset.file) if asset.file else None

    def bring(self, asset: Asset, partial: Partial, proven: bool, report: Report) -> None:
        source = self.path / asset.id / asset.file
        try:
            stream, total = source.open("rb"), source.stat().st_size
        except OSError as error:
            raise AssetError(f"{asset.id}: mirror has no {source} ({error.strerror})") from error
        partial.begin(Mark(str(source)))
        done = 0
        with stream, partial.appending() as file:
            while chunk := self._read(stream, partial):
                partial.write(file, chunk)
                done += len(chunk)
                report(done, total)

    def _read(self, stream: BufferedReader, partial: Partial) -> bytes:
        try:
            return stream.read(CHUNK)
        except OSError as error:  # the mirror's fault, not the cache's
            partial.drop()
            raise AssetError(f"{stream.name}: cannot be read ({error.strerror})") from error


def origin_of(mirror: str | None, patience: Patience = PATIENCE) -> Origin:
    """The origin that ``--mirror`` names; the published addresses if None.

    Raises:
        UsageError: neither an address of the web nor a folder.
    """
    if mirror is None:
        return Web(patience=patience)
    if urlsplit(mirror).scheme in ("http", "https"):
        return Web(mirror, patience)
    if not Path(mirror).is_dir():
        raise UsageError(f"--mirror: found {mirror!r}, expected an address (https://...) or a folder")
    return Folder(Path(mirror))
