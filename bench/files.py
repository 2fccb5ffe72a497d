"""Files of a suite by role: ids of assets or paths, found on this machine and verified."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.assets.needs import require
from bench.assets.registry import find
from bench.assets.store import AssetStore
from bench.errors import AssetError
from bench.parts import is_place

HINT = "'bench prepare' fetches what can be fetched"


def find_file(name: str) -> Path:
    """One file or folder.

    Raises:
        AssetError: not here, or not the right one.
    """
    return find_files([name])[name]


def find_files(
    names: Iterable[str], hint: str = "'bench prepare' fetches what can be fetched"
) -> dict[str, Path]:
    """Files by name; opens no socket.

    Args:
        hint: what would bring missing assets, for the error.

    Raises:
        AssetError: assets are missing (all are named, with size and place) or wrong, or a path leads nowhere.
    """
    wanted = list(dict.fromkeys(names))
    own = {name: Path(name) for name in wanted if is_place(name)}
    if lost := [str(path) for path in own.values() if not path.exists()]:
        raise AssetError(f"{', '.join(lost)}: no such file or folder, named in the suite file")
    return own | require([name for name in wanted if name not in own], hint)


def proven_digest(name: str) -> str | None:
    """sha256 of an asset that the cache has verified and that was not touched since; None if not known."""
    if is_place(name):
        return None
    store = AssetStore.default()
    path, known = store.locate(find(name)), store.ledger().files.get(name)
    return known.sha256 if path and known and known.same(path.stat()) else None


def is_here(name: str) -> bool:
    """Whether a file is on this machine; it is not verified."""
    return Path(name).exists() if is_place(name) else AssetStore.default().locate(find(name)) is not None
