"""Captions of scenes: what is told of a scene, and in which words.

Every thing is named with colour and shape; size, place, one relation and the background come and go, and
words have synonyms. A statement and its words come from the scene's generator: a caption is as fixed as it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from baselines.datasets.scene_statements import (
    OFFSETS,
    Mention,
    Place,
    Relation,
    Statement,
    Truth,
    clear_place,
    related,
)
from baselines.datasets.scenes import Scene, Split, Thing, draw_scene
from baselines.streams import numpy_generator

TOLD_SIZE, TOLD_PLACE, TOLD_RELATION, TOLD_BACKGROUND = 0.4, 0.5, 0.7, 0.6  # chances

SAID: dict[str, tuple[str, ...]] = {  # synonyms; a word that is not here stands for itself
    "circle": ("circle", "circle", "disc"),
    "square": ("square", "square", "box"),
    "cross": ("cross", "cross", "plus"),
    "ring": ("ring", "ring", "hoop"),
    "purple": ("purple", "purple", "violet"),
    "small": ("small", "little"),
    "large": ("large", "big"),
    "grey": ("grey", "gray"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
WHERE: dict[Place, str] = {
    (-1, -1): "at the top left",
    (0, -1): "at the top",
    (1, -1): "at the top right",
    (-1, 0): "on the left",
    (0, 0): "in the middle",
    (1, 0): "on the right",
    (-1, 1): "at the bottom left",
    (0, 1): "at the bottom",
    (1, 1): "at the bottom right",
}
OPENINGS = ("", "", "", "a picture of ", "an image of ", "there is ")
GROUNDS = (" on a {} background", " on {}", " against a {} background")


class Captioned(NamedTuple):
    """A scene with what its caption states and says."""

    scene: Scene
    statement: Statement
    caption: str


def captioned(split: Split, seed: int, index: int) -> Captioned:
    """Scene ``index`` of a split with its caption."""
    rng = numpy_generator(seed, split.stream, index)
    scene = draw_scene(split, rng)
    statement = told(scene, rng)
    return Captioned(scene, statement, worded(statement, rng))


def told(scene: Scene, rng: np.random.Generator) -> Statement:
    """A true statement that names every thing; the two of a relation are named last."""
    things = [scene.things[i] for i in rng.permutation(len(scene.things))]
    relation = None
    if len(things) > 1 and rng.random() < TOLD_RELATION:
        clear = [name for name in OFFSETS if related(things[-2], name, things[-1]) is Truth.TRUE]
        if clear:  # two where both axes differ alike
            relation = Relation(len(things) - 2, clear[rng.integers(len(clear))], len(things) - 1)
    mentions = tuple(_mention(thing, relation is None, rng) for thing in things)
    return Statement(mentions, relation, scene.background if rng.random() < TOLD_BACKGROUND else None)


def _mention(thing: Thing, placed: bool, rng: np.random.Generator) -> Mention:
    size = thing.size if rng.random() < TOLD_SIZE else None
    place = clear_place(thing) if placed and rng.random() < TOLD_PLACE else None
    return Mention(thing.colour, thing.shape, size, place)


def worded(statement: Statement, rng: np.random.Generator) -> str:
    """The statement in words; the same statement has many."""
    names = [_named(mention, rng) for mention in statement.mentions]
    if statement.relation is not None:
        names[-2:] = [f"{names[-2]} {_said(statement.relation.name, rng)} {names[-1]}"]
    last = " and " if statement.relation is None else ", and "  # "a and b above c" would say that both are
    listed = last.join(part for part in (", ".join(names[:-1]), names[-1]) if part)
    ground = ""
    if statement.background is not None:
        ground = GROUNDS[rng.integers(len(GROUNDS))].format(_said(statement.background, rng))
    return OPENINGS[rng.integers(len(OPENINGS))] + listed + ground


def _named(mention: Mention, rng: np.random.Generator) -> str:
    words = [_said(word, rng) for word in (mention.size, mention.colour, mention.shape) if word is not None]
    words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words if mention.place is None else [*words, WHERE[mention.place]])


def _said(word: str, rng: np.random.Generator) -> str:
    said = SAID.get(word)
    return word if said is None else said[rng.integers(len(said))]
