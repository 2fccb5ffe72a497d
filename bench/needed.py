"""Which files some cells of a suite need, so that nothing is asked for in vain."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cell import Cell
from bench.errors import UsageError
from bench.files import is_here
from bench.suite import Suite
from bench.suite_protocol import PublishedProtocol

REAL = "real"  # the anchor that shows training images


def needs_data(suite: Suite, cells: Sequence[Cell]) -> bool:
    """Whether training images are read: by a method, as the reference, or for the law of the labels."""
    assert suite.files is not None and isinstance(suite.protocol, PublishedProtocol)
    trained = any(cell.kind == "student" and cell.method and cell.method.cls.needs.data for cell in cells)
    empirical = suite.labelled and suite.protocol.labels == "empirical"
    return trained or empirical or suite.files.reference_for(suite.protocol.law) is None


def needed_files(suite: Suite, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Files by name (``bench.files``): the teacher's, the evaluation's, and what the cells read besides.

    Raises:
        UsageError: a method learns from pictures, and the suite has captions alone.
    """
    if not suite.own_files:
        return suite.assets
    idle = idle_captions(suite, cells) if suite.pipeline else idle_images(suite, cells)
    wanted = [name for name in suite.own_files if name not in idle]
    students = [cell.released.file for cell in cells if cell.released]
    return tuple(dict.fromkeys([*wanted, *students, *suite.assets]))


def idle_images(suite: Suite, cells: Sequence[Cell]) -> set[str]:
    """Training images, where nothing reads them."""
    assert suite.files is not None
    read = needs_data(suite, cells) or any(cell.detail == REAL for cell in cells)
    return set() if read else {suite.files.data}


def idle_captions(suite: Suite, cells: Sequence[Cell]) -> set[str]:
    """Training captions and captioned pictures, where no method learns from them; raises UsageError."""
    assert suite.pipeline is not None
    trained = [(cell.label, cell.method.cls) for cell in cells if cell.kind == "student" and cell.method]
    data, pictures = suite.pipeline.data, suite.pipeline.pictures
    seeing = next((label for label, cls in trained if cls.needs.data), None)
    if seeing and pictures is None:
        raise UsageError(
            f"method {seeing} learns from pictures, and suite {suite.name} has captions alone: name a folder "
            "of captioned pictures (key 'pipeline.pictures'), or take a method without data, such as sid"
        )
    idle = set() if any(not cls.needs.data for _, cls in trained) else {data}
    return idle if seeing or pictures is None else {*idle, pictures}


def without_absent_data(suite: Suite, cells: list[Cell]) -> tuple[list[Cell], list[str]]:
    """The cells but the row of real images, where these are not here and nothing else needs them; a note."""
    if suite.files is None or needs_data(suite, cells) or is_here(suite.files.data):
        return cells, []
    kept = [cell for cell in cells if cell.detail != REAL]
    left = f"{REAL}: left out, since {suite.files.data} is not here and nothing else needs it"
    return kept, [left] if len(kept) < len(cells) else []
