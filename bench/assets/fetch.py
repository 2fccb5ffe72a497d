"""Bring one asset into the cache: alone, with room on the disk, verified, and only then under its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.assets.origins import Origin
from bench.assets.partial import Partial
from bench.assets.registry import Asset
from bench.assets.store import AssetStore
from bench.errors import AssetError


class Watcher(Protocol):
    """Is told what happens to an asset."""

    def say(self, line: str) -> None: ...
    def bytes(self, asset: Asset, done: int, total: int | None) -> None: ...


@dataclass
class Silent:
    """Tells nobody; the lines are kept."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def bytes(self, asset: Asset, done: int, total: int | None) -> None:
        """Nobody asks."""


@dataclass(frozen=True)
class Fetcher:
    """Brings assets from one origin into one cache; several processes may do so at once."""

    store: AssetStore
    origin: Origin
    watcher: Watcher

    def fetch(self, asset: Asset) -> Path:
        """The verified file, brought here if it is missing.

        Raises:
            AssetError: it cannot be had here, or what came is not it; then nothing of it is kept, except
                the bytes of a broken transfer that can be continued.
        """

        def waiting() -> None:
            self.watcher.say(f"{asset.id}: waiting for another process that fetches it")

        if (found := self.store.verified(asset)) is not None:
            return found
        with self.store.alone(asset.id, waiting):
            if (found := self.store.verified(asset)) is not None:  # brought by the other process
                return found
            return self._bring(asset)

    def _bring(self, asset: Asset) -> Path:
        address = self.origin.address(asset)
        if address is None:
            raise AssetError(f"{asset.id}: not to be had from here; {by_hand(asset, self.store)}")
        partial = Partial(self.store.partial(asset), self.store.root)
        self._room(asset, partial)
        proven = asset.sha256 is not None or asset.id in self.store.ledger().files
        self.origin.bring(asset, partial, proven, self._report(asset))
        try:
            return self.store.admit(asset, partial.path, address)
        finally:
            partial.drop()  # nothing is left of it in its place once it was admitted

    def _report(self, asset: Asset) -> Callable[[int, int | None], None]:
        return lambda done, total: self.watcher.bytes(asset, done, total)

    def _room(self, asset: Asset, partial: Partial) -> None:
        root = self.store.root
        needed = (asset.size or 0) - partial.size
        free = shutil.disk_usage(next(each for each in (root, *root.parents) if each.is_dir())).free
        if free < needed:
            raise AssetError(
                f"{asset.id}: {needed:,} bytes are still to come and {root} has {free:,} free; "
                "free space, or set BENCH_CACHE to a folder elsewhere"
            )


def by_hand(asset: Asset, store: AssetStore) -> str:
    """What a person can do about an asset that is not fetched."""
    if asset.fetch == "hub":
        repo = asset.url.removeprefix("https://huggingface.co/")
        return f"get the folder with 'hf download {repo}', into the cache {store.hub}"
    source = asset.url or asset.note
    return f"put it at {store.path(asset)} ({asset.size_text}; {source})"
