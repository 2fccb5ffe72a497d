"""The lock file of the cache: digest of every file at its first use, and the licences that were agreed to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.atomic import write_atomic
from bench.errors import AssetError

NAME = "assets.lock.json"


@dataclass(frozen=True)
class Known:
    """A file as it was verified; the same size and time of change mean that it is still that file."""

    sha256: str
    size: int
    mtime_ns: int
    source: str

    def same(self, stat: os.stat_result) -> bool:
        """Whether a file has not been touched since."""
        return (self.size, self.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


@dataclass
class Ledger:
    """What the lock file holds.

    Attributes:
        files: by asset id; licences: agreed to.
    """

    files: dict[str, Known] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)

    @staticmethod
    def read(folder: Path) -> Ledger:
        """The ledger of a cache; empty where there is none. Raises AssetError for a broken one."""
        path = folder / NAME
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return Ledger({id_: Known(**known) for id_, known in raw["files"].items()}, list(raw["licences"]))
        except (FileNotFoundError, NotADirectoryError):
            return Ledger()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AssetError(
                f"{path}: not a readable lock file ({error!r}); restore it, or remove it to trust files anew"
            ) from error

    def write(self, folder: Path) -> None:
        """Store it, whole or not at all."""
        files = {id_: asdict(known) for id_, known in sorted(self.files.items())}
        text = json.dumps({"files": files, "licences": sorted(set(self.licences))}, indent=1)
        write_atomic(folder / NAME, text + "\n")
