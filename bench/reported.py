"""Numbers that papers report: ``leaderboards/reported/reported_results.csv``. Nothing is measured here.

Values keep the digits of their source. A number is second-hand where it was read in another document that
quotes it. Imports no numerics.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.catalog import METHODS, canonical_name
from bench.errors import UsageError, unknown
from bench.references import bibliography
from bench.shipped import reported_file

FILE = "reported_results.csv"
COLUMNS = (
    "dataset", "conditioning", "method", "variant", "teacher", "nfe", "metric", "value", "params_m",
    "training_budget", "paper", "arxiv_id", "year", "table", "seen_in",
)  # fmt: skip
NEEDED = ("dataset", "conditioning", "method", "metric", "paper", "table", "seen_in")
OWN = {"lcm": ("luo2023lcm", "song2023cm")}  # in pixels it is consistency distillation, which is CM's
SECOND_HAND, ABLATION = "quoted in ", "ablation"


class ReportedOn(BaseModel):
    """Which reported numbers stand beside the rows of a suite (its part ``[reported]``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="as the table of reported numbers calls it")
    conditioning: Literal["uncond", "class", "text"] = Field(description="what the generators are given")
    metric: str = Field("fid", description="column of the suite that the papers' numbers are of")


@dataclass(frozen=True)
class Reported:
    """One number of one paper.

    Attributes:
        line: of the file, counted from 1.
        nfe: evaluations per sample; None where the source does not say.
        text: the value with the digits of its source.
        budget: of the training, in the paper's words; "" where not read.
        paper: BibTeX key of the paper whose number it is; table: where in it, or what quotes it.
        seen_in: the document in which it was read; second_hand: it is another one, which quotes the number.
    """

    line: int
    dataset: str
    conditioning: str
    method: str
    variant: str
    teacher: str
    nfe: int | None
    metric: str
    value: float
    text: str
    budget: str
    paper: str
    year: int
    table: str
    seen_in: str
    second_hand: bool

    @property
    def ablation(self) -> bool:
        """Whether it is of a part of the method only."""
        return self.variant.startswith(ABLATION)

    @property
    def known(self) -> str:
        """Name here of the method (a key of ``bench.catalog.METHODS``), or "" if it is not among them."""
        name = canonical_name(self.method)
        return name if name in METHODS else ""

    @property
    def own(self) -> bool:
        """Whether the number is of the method's own paper, not of a re-implementation."""
        return bool(self.known) and self.paper in OWN.get(self.known, (METHODS[self.known].paper,))


@cache
def reported_numbers(path: Path | None = None) -> tuple[Reported, ...]:
    """All numbers of a file (of the one that ships if None), in its order.

    Raises:
        AssetError: the file that ships is missing.
        UsageError: a line that breaks the rules of the table, naming file, line and column.
    """
    file = path or reported_file(FILE)
    try:
        rows = list(_rows(file.read_text(encoding="utf-8").splitlines(keepends=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: cannot read the table of reported numbers ({error})") from error
    head = rows.pop(0)[1] if rows else []
    if tuple(head) != COLUMNS:
        raise UsageError(f"{file}: line 1: found columns {head}, expected {', '.join(COLUMNS)}")
    numbers: dict[tuple[object, ...], Reported] = {}
    for line, cells in rows:
        one = _parse(f"{file}: line {line}", line, cells)
        key = (*(getattr(one, name) for name in COLUMNS if name in KEY),)
        if key in numbers:
            raise UsageError(f"{file}: line {line}: the same number is on line {numbers[key].line}; keep one")
        numbers[key] = one
    return tuple(numbers.values())


KEY = frozenset(
    {"dataset", "conditioning", "method", "variant", "teacher", "nfe", "metric", "paper", "table"}
)


def _rows(lines: list[str]) -> Iterable[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    for cells in reader:
        if cells:
            yield reader.line_num, cells


def _parse(where: str, line: int, cells: list[str]) -> Reported:
    """One line as a number; raises UsageError naming line and column."""
    if len(cells) != len(COLUMNS):
        raise UsageError(f"{where}: found {len(cells)} cells, expected {len(COLUMNS)}")
    row = dict(zip(COLUMNS, cells, strict=True))
    for name in NEEDED:
        if not row[name].strip():
            raise UsageError(f"{where}: column {name!r}: found nothing, expected text")
    for name in ("nfe", "year"):
        if not (row[name].isascii() and row[name].isdigit() and int(row[name]) > 0):
            if name == "nfe" and not row[name]:
                continue
            raise UsageError(f"{where}: column {name!r}: found {row[name]!r}, expected a positive integer")
    if not _is_measure(row["value"]):
        raise UsageError(f"{where}: column 'value': found {row['value']!r}, expected a number of at least 0")
    if row["paper"] not in bibliography():
        raise unknown("BibTeX key", row["paper"], bibliography(), f"{where}: column 'paper'")
    return Reported(
        line, row["dataset"], row["conditioning"], row["method"], row["variant"], row["teacher"],
        int(row["nfe"]) if row["nfe"] else None, row["metric"], float(row["value"]), row["value"],
        row["training_budget"], row["paper"], int(row["year"]), row["table"], row["seen_in"],
        row["table"].startswith(SECOND_HAND),
    )  # fmt: skip


def _is_measure(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) >= 0
    except ValueError:
        return False
