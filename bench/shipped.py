"""What ships beside the code: weight files with the digests of their records, and the papers' numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from bench.errors import AssetError

# Beside the packages, in a checkout and where a wheel is installed: the one place they are read from.
REPORTED = Path(__file__).resolve().parents[1] / "leaderboards" / "reported"
FOLDERS = (("baselines", "weights"), ("metrics", "features/weights"))
PIPELINE_RECORDS = ("diffusion_pytorch_model.json", "model.json")  # other JSON files of its parts are configs


@dataclass(frozen=True)
class Weights:
    """A weight file and the record (``.json``) beside it.

    Attributes:
        name: path inside the distribution.
    """

    name: str
    file: Traversable
    record: Traversable

    @property
    def size(self) -> int:
        """Bytes; raises AssetError if the file is missing."""
        return len(self._read())

    @property
    def expected(self) -> str:
        """sha256 that the record states; raises AssetError if the record is not readable."""
        try:
            return str(json.loads(self.record.read_text(encoding="utf-8"))["sha256"])
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise AssetError(f"{self.record}: no readable 'sha256' ({error!r}); restore the file") from error

    def verify(self) -> None:
        """Raise AssetError unless the file is there with the digest of its record."""
        found = hashlib.sha256(self._read()).hexdigest()
        if found != self.expected:
            raise AssetError(f"{self.name}: sha256 found {found}, expected {self.expected}; restore the file")

    def _read(self) -> bytes:
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise AssetError(f"{self.name}: weight file is missing; make it with 'bench teach'") from error


def reported_file(name: str) -> Path:
    """The papers' numbers or the bibliography, by file name; raises AssetError if missing."""
    path = REPORTED / name
    if not path.is_file():
        raise AssetError(f"{path}: file is missing; install the package again")
    return path


def shipped_weights(folders: dict[str, Traversable] | None = None) -> list[Weights]:
    """Every weight record in the folders (by shown prefix; those of the packages if None), sorted by name."""
    if folders is None:
        folders = {f"{package}/{folder}": resources.files(package) / folder for package, folder in FOLDERS}
    found = []
    for prefix, root in folders.items():
        for inside, folder in ((prefix, root), *_parts_of_pipelines(prefix, root)):
            for item in folder.iterdir() if folder.is_dir() else ():
                if item.name.endswith(".json") and (folder is root or item.name in PIPELINE_RECORDS):
                    name = item.name.removesuffix(".json") + ".safetensors"
                    found.append(Weights(f"{inside}/{name}", folder / name, item))
    return sorted(found, key=lambda weights: weights.name)


def _parts_of_pipelines(prefix: str, root: Traversable) -> Iterator[tuple[str, Traversable]]:
    """Folders of parts of the pipeline folders in a folder, with the prefixes they are shown by."""
    for pipeline in root.iterdir() if root.is_dir() else ():
        if pipeline.is_dir():
            for part in pipeline.iterdir():
                if part.is_dir():
                    yield f"{prefix}/{pipeline.name}/{part.name}", part
