"""The world of the suite ``shapes``: one to three upright things on a plain ground, as scene graphs.

Scene ``index`` of a split and seed is the same whatever the batch; there is no end to them, so that a
training sees no scene twice. Splits draw from streams of their own: no training seed leads to a held-out
scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 32  # pixels; x to the right, y downwards, pixel centres at half integers
SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (222, 40, 40),
    "orange": (255, 142, 20),
    "yellow": (246, 224, 40),
    "green": (30, 160, 62),
    "blue": (42, 84, 224),
    "purple": (158, 60, 200),
}
BACKGROUNDS = {
    "black": (12, 12, 12),
    "grey": (128, 128, 128),
    "white": (244, 244, 244),
    "brown": (98, 62, 36),
}
SIZES = {"small": (3.0, 3.6), "large": (5.0, 5.8)}  # radius in pixels
GAP = 1.0  # pixels between things, and between a thing and the edge
COUNTS = (0.25, 0.40, 0.35)  # chances of one, two and three things

Kind = tuple[str, str]  # colour, shape
KINDS: tuple[Kind, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
UNSEEN: tuple[Kind, ...] = (
    ("red", "cross"),
    ("yellow", "square"),
    ("green", "ring"),
    ("blue", "triangle"),
    ("purple", "circle"),
)
SEEN: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in UNSEEN)
TRIES = 64  # placements drawn at once


@dataclass(frozen=True)
class Thing:
    """One thing of a scene.

    Attributes:
        x, y: of its centre, in pixels; radius: half its extent, in pixels.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """A background and one to three things of different kinds, none of which touch."""

    background: str
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Split:
    """A part of the world.

    Attributes:
        stream: named random stream of its scenes.
        unseen: whether every scene shows a colour on a shape that no other split ever shows together.
    """

    name: str
    stream: str
    unseen: bool = False


TRAIN = Split("train", "data")
HELD_OUT = Split("held-out", "held-out")
COMPOSITIONAL = Split("compositional", "compositional", unseen=True)
SPLITS = {split.name: split for split in (TRAIN, HELD_OUT, COMPOSITIONAL)}


def draw_scene(split: Split, rng: np.random.Generator) -> Scene:
    """A scene of the split from a generator: kinds, sizes and background even, places even among the free."""
    count = 1 + int(np.searchsorted(np.cumsum(COUNTS[:-1]), rng.random(), side="right"))
    kinds = [SEEN[i] for i in rng.choice(len(SEEN), count, replace=False)]
    if split.unseen:
        kinds[rng.integers(count)] = UNSEEN[rng.integers(len(UNSEEN))]
    background = tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    names = [tuple(SIZES)[i] for i in rng.integers(len(SIZES), size=count)]
    low, high = np.array([SIZES[name] for name in names]).T
    radii = low + (high - low) * rng.random(count)
    return Scene(
        background,
        tuple(
            Thing(shape, colour, size, float(x), float(y), float(radius))
            for (colour, shape), size, radius, (x, y) in zip(
                kinds, names, radii, _places(radii, rng), strict=True
            )
        ),
    )


def _places(radii: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Centres ``[K, 2]``: the first even draw in which all bounding boxes keep the gap."""
    edge = (radii + GAP)[:, None]
    apart = radii[:, None] + radii + GAP
    first, second = np.triu_indices(len(radii), 1)
    while True:
        tried = edge + (SIDE - 2 * edge) * rng.random((TRIES, len(radii), 2))
        offset = np.abs(tried[:, first] - tried[:, second]).max(axis=2)
        free = (offset >= apart[first, second]).all(axis=1)
        if free.any():
            return np.asarray(tried[free.argmax()])
