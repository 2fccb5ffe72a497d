"""The assets by name: what each is, where it is published, how large, under which licence."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, get_args

from bench.errors import unknown
from bench.report.text import compact

Fetch = Literal["direct", "hub", "manual"]
RESTRICTED = re.compile(r"BY-NC|NVIDIA Source Code|ImageNet terms", re.IGNORECASE)
NOT_SEEN = re.compile(r"not (seen|read|stated)|check\)", re.IGNORECASE)


@dataclass(frozen=True)
class Asset:
    """One published file or folder.

    Attributes:
        id: name in suites and on the command line.
        fetch: direct: one file at ``url``; hub: a folder on the Hugging Face hub; manual: had by hand.
        file: name under which it is kept; "" for a folder.
        size: exact bytes, None where they are not known; about: size as published ("~238 MB"), or "".
        sha256: published digest; None: trusted on first use.
        note: what it is, or how it is made.
    """

    id: str
    kind: str
    format: str
    fetch: Fetch
    file: str
    url: str
    size: int | None
    about: str
    sha256: str | None
    licence: str
    note: str

    @property
    def size_text(self) -> str:
        """Size for people."""
        return f"{compact(self.size)}B" if self.size is not None else self.about or "size unknown"

    @property
    def restricted(self) -> bool:
        """Whether the licence forbids commercial use."""
        return RESTRICTED.search(self.licence) is not None

    @property
    def licence_text(self) -> str:
        """The licence, with what it forbids or what is not known of it."""
        if self.restricted:
            return f"{self.licence}: no commercial use"
        return f"{self.licence}: read it at the source" if NOT_SEEN.search(self.licence) else self.licence


@cache
def assets() -> dict[str, Asset]:
    """Every asset by id, in the order of ``bench/data/assets.csv``."""
    text = (resources.files("bench") / "data" / "assets.csv").read_text(encoding="utf-8")
    return {row["id"]: parse(row) for row in csv.DictReader(text.splitlines())}


def parse(row: dict[str, str]) -> Asset:
    """One line of the table; raises ValueError where it breaks the rules of the table."""
    fetch, size, digest = row["fetch"], row["size"], row["sha256"]
    if fetch not in get_args(Fetch) or not re.fullmatch(r"\d*|~[\d.]+ [kMGT]B", size):
        raise ValueError(f"asset {row['id']}: fetch {fetch!r} or size {size!r} is not of the table's form")
    if not re.fullmatch(r"([0-9a-f]{64})?", digest) or (fetch == "direct" and not row["file"]):
        raise ValueError(f"asset {row['id']}: sha256 {digest!r} or file {row['file']!r} is not of its form")
    return Asset(
        row["id"], row["kind"], row["format"], fetch, row["file"], row["url"],  # type: ignore[arg-type]
        int(size) if size.isdigit() else None, "" if size.isdigit() else size, digest or None,
        row["licence"], row["note"],
    )  # fmt: skip


def find(name: str, where: str = "") -> Asset:
    """An asset by id; raises UsageError for an unknown one, with the nearest."""
    if name not in assets():
        raise unknown("asset", name, assets(), where)
    return assets()[name]


def find_all(names: Iterable[str], where: str = "") -> list[Asset]:
    """Assets by id, each once, in the order given; see ``find`` for errors."""
    return [find(name, where) for name in dict.fromkeys(names)]
