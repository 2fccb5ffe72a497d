"""The drawn world: fixed by its seeds, true to its graphs, and told truly."""

from __future__ import annotations

import hashlib
from itertools import pairwise, product

import numpy as np
import pytest
from reading import read

from baselines.datasets.captioned_scenes import CaptionedScenes
from baselines.datasets.scene_captions import captioned
from baselines.datasets.scene_drawing import COVERAGES, draw
from baselines.datasets.scene_falsehoods import CHANGES, changed, false_captions, hard_statements
from baselines.datasets.scene_statements import (
    Mention,
    Relation,
    Statement,
    Truth,
    clear_third,
    clearly_false,
    related,
    truth,
)
from baselines.datasets.scenes import (
    BACKGROUNDS,
    COLOURS,
    COMPOSITIONAL,
    GAP,
    HELD_OUT,
    SEEN,
    SHAPES,
    SIDE,
    SPLITS,
    TRAIN,
    UNSEEN,
    Scene,
    Thing,
)
from baselines.streams import numpy_generator

DIGESTS = {
    "train": "9198491a97bffd71",
    "held-out": "669be36a835d9486",
    "compositional": "5a891c442b4dfad6",
}
SHOWN = [captioned(split, 3, index) for split in SPLITS.values() for index in range(100)]
RNG = numpy_generator(0, "falsehoods")


@pytest.mark.parametrize("name", SPLITS)
def test_the_first_scenes_are_what_they_were(name: str) -> None:
    batch = CaptionedScenes(SPLITS[name], 0).rows(0, 256)
    found = hashlib.sha256(batch.images.tobytes())
    found.update("\n".join(one.caption for one in batch.shown).encode())
    assert found.hexdigest()[:16] == DIGESTS[name]


def test_a_scene_does_not_depend_on_its_batch() -> None:
    scenes = CaptionedScenes(TRAIN, 5)
    whole = scenes.rows(0, 24)
    parts = [scenes.batch(i, 8) for i in range(3)]
    assert whole.shown == [one for part in parts for one in part.shown]
    np.testing.assert_array_equal(whole.images, np.concatenate([part.images for part in parts]))
    alone = draw([whole.shown[17].scene])
    np.testing.assert_array_equal(alone[0], whole.images[17])


def test_splits_and_seeds_share_no_scene() -> None:
    scenes = {
        captioned(split, seed, i).scene for split in SPLITS.values() for seed in (0, 1) for i in range(50)
    }
    assert len(scenes) == 6 * 50


def test_kinds_held_out_are_seen_in_the_compositional_split_only() -> None:
    assert {colour for colour, _ in SEEN} == set(COLOURS) and {shape for _, shape in SEEN} == set(SHAPES)
    for split, unseen in ((TRAIN, False), (HELD_OUT, False), (COMPOSITIONAL, True)):
        for i in range(100):
            kinds = {(thing.colour, thing.shape) for thing in captioned(split, 0, i).scene.things}
            assert bool(kinds & set(UNSEEN)) == unseen


def test_things_keep_apart_and_inside() -> None:
    for scene in (one.scene for one in SHOWN):
        for thing in scene.things:
            for place in (thing.x, thing.y):
                assert thing.radius + GAP <= place <= SIDE - thing.radius - GAP
        for one, other in product(scene.things, scene.things):
            if one is not other:
                gap = max(abs(one.x - other.x), abs(one.y - other.y)) - one.radius - other.radius
                assert gap >= GAP - 1e-9 and (one.colour, one.shape) != (other.colour, other.shape)


def test_pixels_show_the_graph() -> None:
    """Background from a free pixel; of each thing colour, area and centre from its own window."""
    areas = {
        "circle": np.pi,
        "ring": 0.75 * np.pi,
        "square": 3.24,
        "cross": 2.56 - 0.4096,
        "triangle": 3**0.5,
    }
    pictures = draw([one.scene for one in SHOWN])
    grid = np.arange(SIDE) + 0.5
    for one, picture in zip(SHOWN, pictures, strict=True):
        assert tuple(picture[:, 0, 0]) == BACKGROUNDS[one.scene.background]
        base = picture[:, :1, :1].astype(float)
        for thing in one.scene.things:
            near = np.abs(grid - thing.x) < thing.radius + 0.6, np.abs(grid - thing.y) < thing.radius + 0.6
            window = picture[:, near[1]][:, :, near[0]].astype(float) - base
            span = np.array(COLOURS[thing.colour], float) - base[:, 0, 0]
            share = np.tensordot(span, window, 1) / (span @ span)  # of every pixel
            assert share.sum() == pytest.approx(areas[thing.shape] * thing.radius**2, rel=0.06)
            assert (share @ grid[near[0]]).sum() / share.sum() == pytest.approx(thing.x, abs=0.15)
            middle = thing.y + thing.radius / 12**0.5 * (thing.shape == "triangle")  # its centroid is lower
            assert (grid[near[1]] @ share).sum() / share.sum() == pytest.approx(middle, abs=0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_is_near_that_of_many_samples(shape: str) -> None:
    inside = {
        "circle": lambda x, y: x**2 + y**2 < 1,
        "ring": lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.25),
        "square": lambda x, y: (abs(x) < 0.9) & (abs(y) < 0.9),
        "cross": lambda x, y: (abs(x) < 1) & (abs(y) < 0.32) | (abs(x) < 0.32) & (abs(y) < 1),
        "triangle": lambda x, y: (y < 0.75**0.5) & (y > 2 * 0.75**0.5 * abs(x) - 0.75**0.5),
    }[shape]
    fine = (np.arange(SIDE * 24) + 0.5) / 24
    for x, y, radius in ((15.2, 16.9, 3.3), (14.71, 15.5, 5.4)):
        samples = inside((fine[None] - x) / radius, (fine[:, None] - y) / radius)
        exact = samples.reshape(SIDE, 24, SIDE, 24).mean(axis=(1, 3))
        centres = np.arange(SIDE) + 0.5
        found = COVERAGES[shape](centres[None] - x, centres[:, None] - y, np.array(radius))
        error = np.abs(found - exact)
        assert error.max() < 0.15 and error.sum() < 0.05 * exact.sum()


def test_captions_are_true_and_say_what_was_stated() -> None:
    for one in SHOWN:
        assert read(one.caption) == one.statement, one.caption
        assert truth(one.statement, one.scene) is Truth.TRUE
        kinds = sorted((thing.colour, thing.shape) for thing in one.scene.things)
        assert sorted((m.colour, m.shape) for m in one.statement.mentions) == kinds


def test_captions_vary() -> None:
    words = {word for one in SHOWN for word in one.caption.replace(",", "").split()}
    assert {"disc", "box", "plus", "hoop", "violet", "gray", "little", "picture", "against", "over"} <= words
    told = [one.statement for one in SHOWN]
    assert 0.2 < np.mean([statement.relation is not None for statement in told]) < 0.6
    assert any(mention.place for statement in told for mention in statement.mentions)


def test_false_captions_are_false_and_differ() -> None:
    for index in range(0, 1500, 300):
        one, false = false_captions(HELD_OUT, 0, index, 100, 50)
        assert len(set(false)) == len(false) == 100
        assert all(truth(read(caption), one.scene) is Truth.FALSE for caption in false)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_one_and_makes_the_caption_false(change: str) -> None:
    found = [(one, new) for one in SHOWN for new in changed(one, change, RNG)]
    assert len(found) > 20
    for one, new in found:
        assert truth(new, one.scene) is Truth.FALSE
        told, now = one.statement, new
        moved = [(a, b) for a, b in zip(told.mentions, now.mentions, strict=True) if a != b]
        assert len(moved) + (told.relation != now.relation) + (told.background != now.background) == (
            2 if change == "binding" else 1
        )


def test_hard_statements_can_be_kept_from_kinds() -> None:
    for one in SHOWN[:100]:  # of the training split
        for statement in hard_statements(one, RNG, 30, SEEN):
            assert {(m.colour, m.shape) for m in statement.mentions} <= set(SEEN)
    assert all(len(hard_statements(one, RNG, 1)) == 1 for one in SHOWN)


def thing(x: float, y: float, shape: str = "circle", colour: str = "red") -> Thing:
    return Thing(shape, colour, "small", x, y, 3.0)


@pytest.mark.parametrize(
    ("dx", "dy", "left", "right"),
    [
        (-6, 0, Truth.TRUE, Truth.FALSE),
        (-6, 7, Truth.UNCLEAR, Truth.FALSE),
        (-3, 0, Truth.UNCLEAR, Truth.FALSE),
        (-0.5, 9, Truth.FALSE, Truth.FALSE),
        (4, -4, Truth.FALSE, Truth.TRUE),
    ],
)
def test_relations_have_three_values(dx: float, dy: float, left: Truth, right: Truth) -> None:
    one, other = thing(16 + dx, 16 + dy), thing(16, 16)
    assert related(one, "left of", other) is left and related(one, "right of", other) is right
    flipped = thing(16 + dy, 16 + dx)
    assert related(flipped, "above", other) is left and related(flipped, "below", other) is right


def test_truth_seeks_the_best_fit_of_things() -> None:
    scene = Scene("black", (thing(5, 16), thing(26, 16, "ring", "blue"), thing(16, 27, "cross", "red")))
    red, blue = Mention("red", "circle"), Mention("blue", "ring")
    assert truth(Statement((red,)), scene) is Truth.TRUE
    assert truth(Statement((red, red)), scene) is Truth.FALSE  # one thing is not two
    assert truth(Statement((red, blue), Relation(0, "left of", 1)), scene) is Truth.TRUE
    assert truth(Statement((blue, red), Relation(0, "left of", 1)), scene) is Truth.FALSE
    assert truth(Statement((blue, red), Relation(0, "above", 1)), scene) is Truth.FALSE
    assert truth(Statement((red,), background="white"), scene) is Truth.FALSE
    assert truth(Statement((Mention("red", "circle", "large"),)), scene) is Truth.FALSE
    assert truth(Statement((Mention("red", "circle", place=(-1, 0)),)), scene) is Truth.TRUE
    assert truth(Statement((Mention("red", "circle", place=(1, 0)),)), scene) is Truth.FALSE
    assert truth(Statement((Mention("red", "circle", place=(0, 0)),)), scene) is Truth.UNCLEAR


def test_thirds_are_unclear_at_their_borders() -> None:
    found = [clear_third(position) for position in (5, 10, 10.6, 12, 16, 21, 22, 23)]
    assert found == [-1, None, None, 0, 0, None, None, 1]
    assert all(a is None or b is None or a <= b for a, b in pairwise(found))


def test_clearly_false_is_truth_of_each_pair() -> None:
    some = SHOWN[:40]
    found = clearly_false([one.statement for one in some], [one.scene for one in some])
    for i, j in product(range(40), range(40)):
        assert found[i, j] == (truth(some[i].statement, some[j].scene) is Truth.FALSE)
    assert not found.diagonal().any() and found.mean() > 0.8
