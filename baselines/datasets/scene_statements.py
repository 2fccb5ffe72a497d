"""What can be said of a scene, and whether it is so: true, false, or not clear enough to say.

A statement names some things, with relations between them, and perhaps the background. It is true if the
things it names can be found in the scene, each another one, so that all it says of them holds; false if
every such choice fails clearly. A thing that is left of another by a hair makes neither: no metric should
hang on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import permutations

import numpy as np

from baselines.datasets.scenes import SIDE, Scene, Thing

CLEAR = 4.0  # pixels of offset from which a relation holds, if the other axis has no more
GONE = 1.0  # pixels of offset up to which it clearly does not
THIRDS = (SIDE / 3, SIDE * 2 / 3)
MARGIN = 1.0  # pixels between thirds in which a place is not clear

OFFSETS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
Place = tuple[int, int]  # third of x, third of y, each -1, 0 or 1
PLACES: tuple[Place, ...] = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1))


class Truth(IntEnum):
    """Three values; ``min`` is and, ``max`` is or."""

    FALSE = 0
    UNCLEAR = 1
    TRUE = 2


@dataclass(frozen=True)
class Mention:
    """A thing as it is spoken of; None where nothing is said."""

    colour: str
    shape: str
    size: str | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Relation:
    """Mention ``first`` is ``name`` mention ``second``, by position among the mentions."""

    first: int
    name: str
    second: int


@dataclass(frozen=True)
class Statement:
    """Things that are there, how they lie, and on what."""

    mentions: tuple[Mention, ...]
    relation: Relation | None = None
    background: str | None = None


def truth(statement: Statement, scene: Scene) -> Truth:
    """Whether the statement holds of the scene."""
    if statement.background not in (None, scene.background) or len(statement.mentions) > len(scene.things):
        return Truth.FALSE
    choices = permutations(scene.things, len(statement.mentions))
    return max(_of_choice(statement, things) for things in choices)


def _of_choice(statement: Statement, things: tuple[Thing, ...]) -> Truth:
    found = min(_fits(mention, thing) for mention, thing in zip(statement.mentions, things, strict=True))
    if statement.relation is None or found is Truth.FALSE:
        return found
    relation = statement.relation
    return min(found, related(things[relation.first], relation.name, things[relation.second]))


def _fits(mention: Mention, thing: Thing) -> Truth:
    if (mention.colour, mention.shape) != (thing.colour, thing.shape) or mention.size not in (
        None,
        thing.size,
    ):
        return Truth.FALSE
    if mention.place is None:
        return Truth.TRUE
    return min(_in_third(mention.place[0], thing.x), _in_third(mention.place[1], thing.y))


def related(first: Thing, name: str, second: Thing) -> Truth:
    """Whether ``first`` is ``name`` (left of, right of, above, below) ``second``."""
    dx, dy = first.x - second.x, first.y - second.y
    along = OFFSETS[name][0] * dx + OFFSETS[name][1] * dy
    if along <= GONE:
        return Truth.FALSE
    return Truth.TRUE if along >= CLEAR and along >= max(abs(dx), abs(dy)) else Truth.UNCLEAR


def _in_third(third: int, position: float) -> Truth:
    if third == clear_third(position):
        return Truth.TRUE
    far = position - SIDE / 2 if third < 0 else SIDE / 2 - position
    return Truth.FALSE if third != 0 and far > 0 else Truth.UNCLEAR


def clear_third(position: float) -> int | None:
    """-1, 0 or 1 for the low, middle or high third of an axis; None near a border between them."""
    low, high = THIRDS
    if abs(position - low) < MARGIN or abs(position - high) < MARGIN:
        return None
    return (position > low) + (position > high) - 1


def clear_place(thing: Thing) -> Place | None:
    """The place that can be said of a thing, if it is clear on both axes."""
    column, row = clear_third(thing.x), clear_third(thing.y)
    return None if column is None or row is None else (column, row)


def clearly_false(statements: Sequence[Statement], scenes: Sequence[Scene]) -> np.ndarray:
    """Whether each statement is ``Truth.FALSE`` of each scene, bool ``[statements, scenes]``."""
    told = [{(mention.colour, mention.shape) for mention in one.mentions} for one in statements]
    shown = [{(thing.colour, thing.shape) for thing in scene.things} for scene in scenes]
    false = np.ones((len(statements), len(scenes)), bool)
    for i, kinds in enumerate(told):
        for j, there in enumerate(shown):
            if kinds <= there:  # else some thing told is not there
                false[i, j] = truth(statements[i], scenes[j]) is Truth.FALSE
    return false
