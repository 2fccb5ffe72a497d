"""Statistics of one's own images, computed once and kept in the cache."""

from __future__ import annotations

from pathlib import Path

from bench.assets.places import cache_root
from bench.store import digest, locked
from metrics.features.extractor import Extractor
from metrics.protocols.record import Protocol
from metrics.reference_file import compute_statistics


def kept_statistics(images: Path, law: Protocol, extractor: Extractor) -> Path:
    """Statistics of images under a protocol: those that are kept, if no file changed since, else new ones.

    Raises:
        ValueError: see ``metrics.reference_file.compute_statistics``.
    """
    key = digest({"files": state_of(images), "law": law.fields(), "extractor": extractor.sha256})
    path = cache_root() / "references" / f"{key[:32]}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent, patient=True):  # of several processes that want it one makes it
            if not path.is_file():
                compute_statistics(images, law, extractor, path)
    return path


def state_of(images: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of every file in a folder."""
    files = [images] if images.is_file() else sorted(path for path in images.rglob("*") if path.is_file())
    return [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
