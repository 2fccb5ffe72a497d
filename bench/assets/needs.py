"""What must be here before something runs, and the one error that names all that is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.assets.registry import Asset, find_all
from bench.assets.store import AssetStore
from bench.errors import AssetError


def require(names: Iterable[str], hint: str, store: AssetStore | None = None) -> dict[str, Path]:
    """Verified files by asset id; opens no socket.

    Args:
        names: asset ids.
        hint: what would bring the missing ones, for the error.

    Raises:
        UsageError: an unknown name.
        AssetError: files are missing (all are named, with size and place) or are not the right ones.
    """
    place, wanted = store or AssetStore.default(), find_all(names)
    found = {asset.id: place.verified(asset) for asset in wanted}
    if missing := [asset for asset in wanted if found[asset.id] is None]:
        raise AssetError(missing_text(missing, place, hint))
    return {id_: path for id_, path in found.items() if path is not None}


def missing_text(missing: list[Asset], store: AssetStore, hint: str) -> str:
    """Every missing file, its size and where to put it, in one line."""
    count = "1 asset is missing" if len(missing) == 1 else f"{len(missing)} assets are missing"
    parts = [f"{asset.id} ({asset.size_text}) at {store.path(asset)}" for asset in missing]
    return f"{count}: {'; '.join(parts)}. {hint}"
