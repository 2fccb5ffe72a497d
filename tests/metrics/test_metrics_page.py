"""The page on metrics is compared with the registry."""

from pathlib import Path

from metrics.features.registry import ENTRIES
from metrics.features.resize import Resize

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def rows(head):
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_extractors_are_those_of_the_registry():
    expected = [
        [
            f"`{found.name}`",
            f"`{found.file}`" if found.asset else "ships with the package",
            str(found.dimension),
            f"`{found.resize}`",
            ", ".join(f"`{extra}`" for extra in found.extras),
        ]
        for found in ENTRIES.values()
    ]
    assert rows("| name | weights |") == expected


def test_resize_laws_are_all_explained():
    assert {row[0] for row in rows("| resize law | what")} == {f"`{law}`" for law in Resize}
