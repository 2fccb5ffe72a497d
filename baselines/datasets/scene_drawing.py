"""Scenes as pictures: every pixel mixes colours by the share of it that a thing covers.

Coverage of straight edges is that of the pixel's box, exact for upright ones; round and slanted edges use the
distance of the pixel's centre to the edge. Sums, products, minima and square roots only: the bytes are the
same on every machine and in every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from baselines.datasets.scenes import BACKGROUNDS, COLOURS, SIDE, Scene, Thing

ROOT = float(np.sqrt(0.75))

Coverage = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # dx, dy, radius -> share of each pixel


def _inside(distance: np.ndarray) -> np.ndarray:
    """Share of a pixel on the inner side of an edge at a signed distance (inside positive), in pixels."""
    return np.clip(distance + 0.5, 0, 1)


def circle(dx: np.ndarray, dy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A disc."""
    return _inside(radius - np.sqrt(dx * dx + dy * dy))


def ring(dx: np.ndarray, dy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A disc with a hole of half its radius."""
    return circle(dx, dy, radius) - circle(dx, dy, 0.5 * radius)


def square(dx: np.ndarray, dy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """An upright square of side 1.8 radii."""
    return _box(dx, dy, 0.9 * radius, 0.9 * radius)


def cross(dx: np.ndarray, dy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Two upright bars, two radii long and 0.64 wide."""
    return np.maximum(_box(dx, dy, radius, 0.32 * radius), _box(dx, dy, 0.32 * radius, radius))


def triangle(dx: np.ndarray, dy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """An equilateral triangle that stands on a side of two radii."""
    half = ROOT * radius  # of its height
    return _inside(0.5 * (half + dy) - ROOT * np.abs(dx)) * _inside(half - dy)


def _box(dx: np.ndarray, dy: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """An upright rectangle of the given half extents, at least a pixel each."""
    return _inside(width - np.abs(dx)) * _inside(height - np.abs(dy))


COVERAGES: dict[str, Coverage] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "cross": cross,
    "ring": ring,
}


def draw(scenes: Sequence[Scene]) -> np.ndarray:
    """Pictures uint8 ``[N, 3, 32, 32]`` of scenes, each independent of the others."""
    pictures = np.array([BACKGROUNDS[scene.background] for scene in scenes], np.float64)[:, :, None, None]
    pictures = np.tile(pictures, (1, 1, SIDE, SIDE))
    for place in range(max(len(scene.things) for scene in scenes)):  # things do not touch: order is free
        rows = [row for row, scene in enumerate(scenes) if place < len(scene.things)]
        things = [scenes[row].things[place] for row in rows]
        share = _coverage(things)[:, None]
        colour = np.array([COLOURS[thing.colour] for thing in things], np.float64)[:, :, None, None]
        pictures[rows] += share * (colour - pictures[rows])
    return np.rint(pictures).astype(np.uint8)


def _coverage(things: Sequence[Thing]) -> np.ndarray:
    """Share ``[K, 32, 32]`` of every pixel that each thing covers."""
    centres = np.arange(SIDE) + 0.5
    x, y, radius = np.array([(thing.x, thing.y, thing.radius) for thing in things]).T[:, :, None, None]
    dx, dy = centres[None, None, :] - x, centres[None, :, None] - y
    names, share = np.array([thing.shape for thing in things]), np.empty((len(things), SIDE, SIDE))
    for name, coverage in COVERAGES.items():
        own = names == name
        share[own] = coverage(dx[own], dy[own], radius[own])
    return share
