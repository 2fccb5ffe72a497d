"""What trainings draw from, where that lies in files, by its digest: other pictures are another training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from baselines.datasets.captioned_files import read_index
from baselines.datasets.files import open_files
from baselines.teachers.captioned import SOURCES
from bench.assets.places import cache_root
from bench.atomic import write_atomic
from bench.cell import Cell
from bench.errors import AssetError
from bench.files import find_file, proven_digest
from bench.kept_statistics import state_of
from bench.store import digest, file_digest, locked, read_json


def training_data(cell: Cell) -> dict[str, str]:
    """Digest of the images, captions or captioned pictures that a cell learns from; empty if it reads none.

    Raises:
        AssetError: they are missing or broken.
    """
    suite, method = cell.suite, cell.method
    if cell.kind != "student" or method is None:
        return {}
    if suite.files is not None:
        return {"data": data_sha256(suite.files.data)} if method.cls.needs.data else {}
    if suite.pipeline is None or suite.pipeline.data in SOURCES:
        return {}
    if method.cls.needs.data and suite.pipeline.pictures is not None:
        return {"data": pictures_sha256(find_file(suite.pipeline.pictures))}
    return {"data": data_sha256(suite.pipeline.data)}


def data_sha256(name: str) -> str:
    """Digest of captions, images or latents, an asset or a path: of its file, or of all in a folder.

    Names count: labels may come from them.

    Raises:
        AssetError: it is missing, or a file of it cannot be read.
    """
    path = find_file(name)  # verified before its digest is believed
    return proven_digest(name) or _kept("images", path, _file if path.is_file() else _images)


def pictures_sha256(folder: Path) -> str:
    """Digest of captioned pictures: the bytes and the caption of each, in their order.

    Raises:
        AssetError: no index, or a picture of it that cannot be read.
    """
    return _kept("pictures", folder, _pictures)


@cache
def _kept(kind: str, place: Path, read: Callable[[Path], str]) -> str:
    """A digest from the cache until a file changes: hundreds of thousands of pictures take minutes."""
    path = cache_root() / "digests" / f"{digest([kind, state_of(place)])[:32]}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent, patient=True):  # of several processes that want it one reads them
            if not path.is_file():
                write_atomic(path, json.dumps({"data": str(place), "sha256": read(place)}) + "\n")
    return str(read_json(path)["sha256"])


def _file(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror}); expected a file of data") from error


def _images(folder: Path) -> str:
    try:
        files, found = open_files(folder), hashlib.sha256()
        for name in files.names:
            found.update(json.dumps([name, hashlib.sha256(files.read(name)).hexdigest()]).encode())
    except ValueError as error:
        raise AssetError(str(error)) from error
    return found.hexdigest()


def _pictures(folder: Path) -> str:
    """Their names do not count, since no training sees them."""
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
