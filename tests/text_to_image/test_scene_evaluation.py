"""Evaluation of the drawn world: what is scored, what a blind generator scores, what is timed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipeline import write_pipeline
from torch import Tensor

from baselines.datasets.scene_drawing import draw
from baselines.datasets.scenes import BACKGROUNDS, COLOURS, SPLITS
from baselines.generators import OneStep
from baselines.streams import SampleNoise, torch_generator
from bench import scene_evaluation
from bench.evaluation import evaluator_for
from bench.scene_evaluation import ScenesEvaluator
from bench.suite import Suite, load_suite
from metrics.caption_ranking import Asked, Beside, embedded, ranked_by_change

COUNT = 60


class Seeing:
    """A CLIP in closed form: pictures by the colours in them, captions by the colours that they name."""

    sha256, dimension = "seeing", len(COLOURS) + len(BACKGROUNDS)
    words = (*COLOURS, *BACKGROUNDS)
    colours = torch.tensor([*COLOURS.values(), *BACKGROUNDS.values()]).float()

    def __call__(self, images: Tensor) -> Tensor:
        pixels = images.float().permute(0, 2, 3, 1).flatten(1, 2)
        near = torch.cdist(pixels, self.colours.expand(len(images), -1, -1)) < 8
        return near.float().sum(1).clamp(max=1) + 1e-3

    def texts(self, captions: list[str]) -> tuple[Tensor, int]:
        said = [text.replace("violet", "purple").replace("gray", "grey") for text in captions]
        return torch.tensor([[float(word in text) for word in self.words] for text in said]) + 1e-3, 0


class Flat:
    """Features: the mean colour of each quarter of the rows."""

    sha256 = "flat"

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().unflatten(2, (4, 8)).mean((3, 4)).flatten(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline for pictures of the drawn world."""
    path = tmp_path_factory.mktemp("scenes") / "drawn"
    return write_pipeline(path, sample_size=16, cross_attention_dim=16)


@pytest.fixture
def suite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The shipped suite over tiny models."""
    for cached in (scene_evaluation._asked, scene_evaluation._reference, scene_evaluation._real):
        cached.cache_clear()
    networks: dict[str, Any] = {"shapes": Flat(), "clip-shapes": Seeing()}
    monkeypatch.setattr(scene_evaluation, "_network", lambda name, sha256, device: networks[name])
    shipped = load_suite("shapes")
    assert shipped.pipeline is not None
    return shipped.model_copy(
        update={
            "pipeline": shipped.pipeline.model_copy(update={"folder": str(folder)}),
            "protocol": shipped.protocol.model_copy(update={"reference_samples": 400}),
        }
    )


@pytest.fixture
def evaluator(suite: Suite) -> ScenesEvaluator:
    """Its evaluator."""
    found = evaluator_for(suite)
    assert isinstance(found, ScenesEvaluator)
    return found


def test_real_pictures_score_best_and_blind_ones_at_chance(evaluator: ScenesEvaluator) -> None:
    real, shuffled, collapsed = (
        evaluator.score(evaluator.anchor(name, COUNT, 1000), 1000)
        for name in ("real", "shuffled", "collapsed")
    )
    assert real["r_colour"] > 0.9 > shuffled["r_colour"]  # another colour of two alike goes unseen
    assert real["r_background"] == 1.0 and shuffled["r_background"] < 0.6
    assert real["clip_score"] > 0.8 > shuffled["clip_score"]
    assert shuffled["fd"] == pytest.approx(real["fd"]), "the distance does not see captions"
    assert collapsed["fd"] > 3 * real["fd"] and collapsed["clip_score"] < 0.6
    assert real["r_relation"] == 0.0, "this CLIP sees no places: equal scores are a loss"


def test_captions_are_those_of_the_pictures(evaluator: ScenesEvaluator) -> None:
    shown = evaluator.shown(range(5, 9), 7)
    assert evaluator.captions(range(5, 9), 7) == [one.caption for one in shown]
    np.testing.assert_array_equal(evaluator.anchor("real", 9, 7)[5:], draw([one.scene for one in shown]))
    cond = evaluator.labels(range(5, 9), 7)
    alone = evaluator.labels(range(8, 9), 7)
    assert cond.text is not None and alone.text is not None
    torch.testing.assert_close(cond.text[3:], alone.text, rtol=0, atol=0)
    assert evaluator.captions(range(3), 7) != evaluator.captions(range(3), 8)


def test_the_compositional_split_asks_for_kinds_that_no_training_saw(suite: Suite) -> None:
    law = suite.protocol.model_copy(update={"split": "compositional"})
    found = evaluator_for(suite.model_copy(update={"protocol": law}))
    assert isinstance(found, ScenesEvaluator) and SPLITS["compositional"].unseen
    unseen = {("red", "cross"), ("yellow", "square"), ("green", "ring"), ("blue", "triangle")}
    for one in found.shown(range(20)):
        kinds = {(thing.colour, thing.shape) for thing in one.scene.things}
        assert kinds & (unseen | {("purple", "circle")})


def test_pictures_do_not_depend_on_the_batch(evaluator: ScenesEvaluator) -> None:
    x = torch.randn(5, 4, 16, 16, generator=torch_generator(0, "sample-noise"))
    np.testing.assert_array_equal(evaluator.pixels(x)[2:3], evaluator.pixels(x[2:3]))
    assert evaluator.pixels(x).shape == (5, 3, 32, 32)


def test_a_rendering_is_the_whole_way_from_captions_to_pictures(evaluator: ScenesEvaluator) -> None:
    model, calls = evaluator.model, {"text encoder": 0, "autoencoder": 0}
    net = model.net.requires_grad_(False)
    generator = OneStep({1: net}, model.space.sigma_max, model.space.grid)
    noise = SampleNoise(0, range(2), model.space.shape)
    render = evaluator.rendering(range(2), torch.device("cpu"))
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
        for name, modules in evaluator.parts.items()
        for module in modules
    ]
    with torch.no_grad():
        found = render(generator, noise, 1)
        expected = model.latents.decode(generator.sample(noise, evaluator.labels(range(2)), 1))
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert calls["text encoder"] == 1, "captions are encoded in one pass, each time"
    assert calls["autoencoder"] >= 2


def test_ranking_by_change_by_hand() -> None:
    pictures = np.eye(3)
    own = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0, 1, 0]])
    false = {
        "colour": Beside(np.array([0, 0, 1]), np.array([[0.9, 0, 0], [0.99, 0, 0], [0, 0.9, 0]])),
        "place": Beside(np.array([2]), np.array([[0.0, 0, 0]])),
    }
    found = ranked_by_change(pictures, Asked(own, false))
    assert found == {"colour": 0.5, "place": 0.0}, "0 wins, 1 loses, 2 is not asked; a tie is a loss"
    with pytest.raises(ValueError, match="no caption with another size"):
        ranked_by_change(pictures, Asked(own, {"size": Beside(np.array([], int), np.empty((0, 3)))}))


def test_embedded_keeps_owners_in_order() -> None:
    clip: Any = SimpleNamespace(
        texts=lambda captions: (torch.tensor([[float(len(c)), 1.0] for c in captions]), 0), dimension=2
    )
    asked = embedded(clip, ["a", "bb"], {"colour": [["ccc"], []], "place": [[], ["d", "ee"]]})
    assert asked.false["colour"].owners.tolist() == [0] and asked.false["place"].owners.tolist() == [1, 1]
    np.testing.assert_allclose(np.linalg.norm(asked.false["place"].texts, axis=1), 1)
    assert asked.own.shape == (2, 2)
