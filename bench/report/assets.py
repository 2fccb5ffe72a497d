"""Assets explained in plain text: one in full, or those of a suite with what is here of them."""

from __future__ import annotations

from collections.abc import Iterable

from bench.assets.registry import Asset, find_all
from bench.assets.store import AssetStore
from bench.report.text import printable

HOW = {"direct": "by 'bench prepare'", "hub": "by 'hf download', a whole folder", "manual": "by hand"}


def asset_text(asset: Asset, store: AssetStore) -> str:
    """Everything that is known of an asset, and where it is or belongs."""
    ledger = store.ledger()
    known = ledger.files.get(asset.id)
    facts = [
        ("kind", f"{asset.kind}, {asset.format}"),
        ("state", store.state(asset, ledger)),
        ("place", str(store.locate(asset) or store.path(asset))),
        ("address", asset.url or "none"),
        ("had", HOW[asset.fetch]),
        ("size", asset.size_text),
        ("sha256", asset.sha256 or (f"{known.sha256} (first use)" if known else "taken at the first use")),
        ("licence", asset.licence_text),
        ("note", asset.note),
    ]
    lines = [f"  {name:8} {printable(value)}" for name, value in facts if value]
    return "\n".join([f"asset {asset.id}", *lines])


def asset_lines(names: Iterable[str], where: str) -> list[str]:
    """A line for each asset of a suite: state, size, name; raises UsageError for an unknown name."""
    store = AssetStore.default()
    ledger = store.ledger()
    return [f"asset {one.id}: {store.state(one, ledger)}, {one.size_text}" for one in find_all(names, where)]
