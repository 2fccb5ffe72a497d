"""Captions that are false of a scene: one thing said changed (hard), or another scene's caption.

False by the scene graph: what is made here has been judged ``Truth.FALSE``, never merely untold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from baselines.datasets.scene_captions import Captioned, captioned, worded
from baselines.datasets.scene_statements import OPPOSITE, PLACES, Relation, Statement, Truth, truth
from baselines.datasets.scenes import BACKGROUNDS, COLOURS, KINDS, SHAPES, SIZES, Kind, Split
from baselines.streams import numpy_generator


def _attribute(name: str, values: tuple[object, ...], statement: Statement) -> Iterator[Statement]:
    """Each mention with another value of an attribute that it tells."""
    for at, mention in enumerate(statement.mentions):
        told = getattr(mention, name)
        for value in values:
            if told is not None and value != told:
                mentions = list(statement.mentions)
                mentions[at] = replace(mention, **{name: value})  # type: ignore[arg-type]
                yield replace(statement, mentions=tuple(mentions))


def colours(statement: Statement) -> Iterator[Statement]:
    """One thing in another colour."""
    return _attribute("colour", tuple(COLOURS), statement)


def shapes(statement: Statement) -> Iterator[Statement]:
    """One thing of another shape."""
    return _attribute("shape", SHAPES, statement)


def sizes(statement: Statement) -> Iterator[Statement]:
    """One thing of the other size."""
    return _attribute("size", tuple(SIZES), statement)


def places(statement: Statement) -> Iterator[Statement]:
    """One thing somewhere else."""
    return _attribute("place", PLACES, statement)


def bindings(statement: Statement) -> Iterator[Statement]:
    """Two things that changed colours: the words are the same, in another order."""
    for first, second in combinations(range(len(statement.mentions)), 2):
        mentions = list(statement.mentions)
        a, b = mentions[first], mentions[second]
        mentions[first], mentions[second] = replace(a, colour=b.colour), replace(b, colour=a.colour)
        yield replace(statement, mentions=tuple(mentions))


def relations(statement: Statement) -> Iterator[Statement]:
    """The relation told, reversed."""
    if statement.relation is not None:
        told = statement.relation
        yield replace(statement, relation=Relation(told.first, OPPOSITE[told.name], told.second))


def backgrounds(statement: Statement) -> Iterator[Statement]:
    """Another background."""
    for value in BACKGROUNDS:
        if statement.background not in (None, value):
            yield replace(statement, background=value)


CHANGES: dict[str, Callable[[Statement], Iterator[Statement]]] = {
    "colour": colours,
    "shape": shapes,
    "binding": bindings,
    "relation": relations,
    "size": sizes,
    "place": places,
    "background": backgrounds,
}


def changed(
    shown: Captioned, change: str, rng: np.random.Generator, kinds: Collection[Kind] = KINDS
) -> Iterator[Statement]:
    """Statements with one thing changed so that they are false, in random order; they name ``kinds`` only."""
    options = list(CHANGES[change](shown.statement))
    for i in rng.permutation(len(options)):
        named = {(mention.colour, mention.shape) for mention in options[i].mentions}
        if named <= set(kinds) and truth(options[i], shown.scene) is Truth.FALSE:
            yield options[i]


def hard_statements(
    shown: Captioned, rng: np.random.Generator, count: int, kinds: Collection[Kind] = KINDS
) -> list[Statement]:
    """Up to ``count`` false statements, each one change from the true one; sorts of change take turns."""
    sorts = [changed(shown, tuple(CHANGES)[i], rng, kinds) for i in rng.permutation(len(CHANGES))]
    found: list[Statement] = []
    while sorts and len(found) < count:
        turn = [(sort, next(sort, None)) for sort in sorts]
        sorts = [sort for sort, statement in turn if statement is not None]
        found += [statement for _, statement in turn if statement is not None]
    return found[:count]


def false_captions(split: Split, seed: int, index: int, count: int, hard: int) -> tuple[Captioned, list[str]]:
    """Scene ``index`` and ``count`` captions false of it, all different: up to ``hard`` of them hard.

    The others are captions of the scenes that follow.
    """
    shown = captioned(split, seed, index)
    rng = numpy_generator(seed, "falsehoods", index)
    found = dict.fromkeys(worded(one, rng) for one in hard_statements(shown, rng, hard))
    while len(found) < count:
        index += 1
        other = captioned(split, seed, index)
        if truth(other.statement, shown.scene) is Truth.FALSE:
            found[other.caption] = None
    return shown, list(found)
