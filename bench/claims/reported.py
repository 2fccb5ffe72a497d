"""One FID per method from the numbers that papers report (``bench/data/reported_results.csv``)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from bench.catalog import METHODS, canonical_name

# In pixels it is consistency distillation, which is CM's.
OWN = {"lcm": ("luo2023lcm", "song2023cm")}
SECOND_HAND, ABLATION = "quoted in", "ablation"
RULE = """\
Of each method the lowest FID of its own paper at these step counts, ablations left out. Where no number
was read in that paper itself, the lowest that another document quotes from it (marked \\*), and where it
has none, the lowest of a re-implementation (marked \\*\\*), read or quoted. Other data sets, metrics and
methods are left out."""


@dataclass(frozen=True)
class Reported:
    """A chosen number; ``tier`` 0: read in the method's own paper, 1: quoted from it, 2: of others."""

    method: str
    value: float
    nfe: int
    paper: str
    tier: int

    @property
    def mark(self) -> str:
        """Shown after the number."""
        return "\\*" * self.tier


@cache
def lines() -> tuple[dict[str, str], ...]:
    """All lines of the file."""
    path = resources.files("bench") / "data" / "reported_results.csv"
    return tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def reported(dataset: str, conditioning: str, steps: tuple[int, ...]) -> dict[str, Reported]:
    """The chosen number of every method of the catalog that has one, by the rule."""
    found: dict[str, Reported] = {}
    for line in lines():
        method = canonical_name(line["method"])
        if (line["dataset"], line["conditioning"], line["metric"]) != (dataset, conditioning, "fid"):
            continue
        if method not in METHODS or line["variant"].startswith(ABLATION):
            continue
        if line["nfe"] not in map(str, steps):
            continue
        one = Reported(method, float(line["value"]), int(line["nfe"]), line["paper"], tier(method, line))
        if method not in found or (one.tier, one.value) < (found[method].tier, found[method].value):
            found[method] = one
    return found


def tier(method: str, line: dict[str, str]) -> int:
    """How near a line is to the method's own paper."""
    if line["paper"] not in OWN.get(method, (METHODS[method].paper,)):
        return 2
    return int(line["table"].startswith(SECOND_HAND))
