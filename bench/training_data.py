"""What trainings draw from, where that lies in files, by its digest: other captions are another training."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from baselines.datasets.captioned_files import read_index
from baselines.teachers.captioned import SOURCES
from bench.assets.places import cache_root
from bench.atomic import write_atomic
from bench.cell import Cell
from bench.errors import AssetError
from bench.files import find_file, proven_digest
from bench.kept_statistics import state_of
from bench.store import digest, file_digest, locked, read_json


def training_data(cell: Cell) -> dict[str, str]:
    """Digest of the captions, or captioned pictures, that a cell learns from; empty where code draws them.

    Raises:
        AssetError: they are missing or broken.
    """
    pipeline, method = cell.suite.pipeline, cell.method
    if cell.kind != "student" or method is None or pipeline is None or pipeline.data in SOURCES:
        return {}
    seen = pipeline.pictures if method.cls.needs.data else None
    return {"data": _captions_sha256(pipeline.data) if seen is None else pictures_sha256(find_file(seen))}


def _captions_sha256(name: str) -> str:
    path = find_file(name)  # verified before its digest is believed
    try:
        return proven_digest(name) or file_digest(path)
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror}); expected a file of captions") from error


@cache
def pictures_sha256(folder: Path) -> str:
    """Digest of captioned pictures: the bytes and the caption of each, in their order.

    It is kept in the cache until a file changes: reading hundreds of thousands of pictures takes minutes.

    Raises:
        AssetError: no index, or a picture of it that cannot be read.
    """
    path = cache_root() / "digests" / f"{digest(state_of(folder))[:32]}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent, patient=True):  # of several processes that want it one reads them
            if not path.is_file():
                write_atomic(path, json.dumps({"folder": str(folder), "sha256": _read(folder)}) + "\n")
    return str(read_json(path)["sha256"])


def _read(folder: Path) -> str:
    """The digest from the files; names do not count, since no training sees them."""
    found = hashlib.sha256()
    try:
        for name, text in zip(*read_index(folder), strict=True):
            found.update(json.dumps([text, file_digest(folder / name)]).encode())
    except OSError as error:
        raise AssetError(
            f"{error.filename}: cannot be read ({error.strerror}); expected a picture of {folder}"
        ) from error
    except ValueError as error:
        raise AssetError(str(error)) from error
    return found.hexdigest()
