"""One FID per method from the numbers that papers report (``bench.reported``)."""

from __future__ import annotations

from dataclasses import dataclass

from bench.reported import Reported as Number
from bench.reported import reported_numbers

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


def reported(dataset: str, conditioning: str, steps: tuple[int, ...]) -> dict[str, Reported]:
    """The chosen number of every method of the catalog that has one, by the rule."""
    found: dict[str, Reported] = {}
    for number in reported_numbers():
        if (number.dataset, number.conditioning, number.metric) != (dataset, conditioning, "fid"):
            continue
        if not number.known or number.ablation or number.nfe not in steps or number.nfe is None:
            continue
        one = Reported(number.known, number.value, number.nfe, number.paper, tier(number))
        if one.method not in found or (one.tier, one.value) < (
            found[one.method].tier,
            found[one.method].value,
        ):
            found[one.method] = one
    return found


def tier(number: Number) -> int:
    """How near a number is to the method's own paper."""
    return int(number.second_hand) if number.own else 2
