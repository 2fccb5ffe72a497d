"""What a head tells of the drawn world, from a picture's embedding or a caption's, and what that costs it.

It exists in training only: it teaches the CLIP of the suite ``shapes`` what is where, and is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.datasets.scene_statements import OFFSETS, Statement
from baselines.datasets.scenes import BACKGROUNDS, SEEN, SIDE, Scene

PLACE = 3  # numbers of a thing: x, y, radius
TOLD_NUMBERS = (1 + PLACE) * len(SEEN) + len(BACKGROUNDS)  # a kind also is there or not
PLACED = 2.0  # weight of place and size beside presence
LARGEST = 6.0  # pixels, above every radius
APART = 0.75  # offset that a relation stands for, in half sides of the picture


def level(embedded: Tensor) -> Tensor:
    """Embeddings in the length of their dimension's root: numbers around 1, for the head."""
    return F.normalize(embedded, dim=1) * embedded.shape[1] ** 0.5


class Facts(NamedTuple):
    """Scenes in numbers; K counts the kinds that trainings see: of the others nothing is learned.

    Attributes:
        there: which kinds are there, 0 or 1 ``[N, K]``.
        where: of those x, y and radius, each in [-1, 1] ``[N, K, 3]``.
        ground: index of the background ``[N]``.
    """

    there: Tensor
    where: Tensor
    ground: Tensor


def told(scenes: Sequence[Scene]) -> Facts:
    """The facts of scenes of seen kinds."""
    there, where = torch.zeros(len(scenes), len(SEEN)), torch.zeros(len(scenes), len(SEEN), 3)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            kind = SEEN.index((thing.colour, thing.shape))
            there[row, kind] = 1
            where[row, kind] = torch.tensor(
                [2 * thing.x / SIDE - 1, 2 * thing.y / SIDE - 1, 2 * thing.radius / LARGEST - 1]
            )
    return Facts(there, where, torch.tensor([tuple(BACKGROUNDS).index(one.background) for one in scenes]))


def _parts(found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of kinds ``[N, K]``, places ``[N, K, 3]`` and logits of backgrounds, of what it says."""
    kinds, places, grounds = found.split([len(SEEN), PLACE * len(SEEN), len(BACKGROUNDS)], dim=1)
    return kinds, places.unflatten(1, (-1, PLACE)), grounds


def told_loss(found: Tensor, facts: Facts) -> Tensor:
    """Cross-entropy of kinds, summed, and of backgrounds; squared error of place and size of what is there.

    Args:
        found: of the head ``[N, TOLD_NUMBERS]``.
    """
    kinds, places, grounds = _parts(found)
    error = (places - facts.where).square().sum(2) * facts.there
    presence = F.binary_cross_entropy_with_logits(kinds, facts.there, reduction="none").sum(1).mean()
    return presence + F.cross_entropy(grounds, facts.ground) + PLACED * error.sum() / facts.there.sum()


def related_loss(found: Tensor, statements: Sequence[Statement]) -> Tensor:
    """Squared error of the offsets that relations tell, a mean over statements, those without one included.

    Args:
        found: of the head, from captions ``[N, TOLD_NUMBERS]``; statements: of the captions, of seen kinds.
    """
    ends = [(row, *_ends(one)) for row, one in enumerate(statements) if one.relation is not None]
    rows, first, second, right, down = torch.tensor(ends, dtype=torch.long).reshape(-1, 5).T
    places = _parts(found)[1]
    across, along = (places[rows, first, axis] - places[rows, second, axis] for axis in (0, 1))
    return PLACED * (right * across + down * along - APART).square().sum() / len(statements)


def _ends(statement: Statement) -> tuple[int, int, int, int]:
    """Kinds of the first and the second thing of its relation, and the way from the second to the first."""
    relation, mentions = statement.relation, statement.mentions
    assert relation is not None
    ends = (mentions[relation.first], mentions[relation.second])
    first, second = (SEEN.index((one.colour, one.shape)) for one in ends)
    return first, second, *OFFSETS[relation.name]
