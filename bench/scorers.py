"""Training of the networks that score the suite ``shapes``: its CLIP and its features.

They see scenes of seeds of their own; nothing that a method or the teacher learns from is shared with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.datasets.captioned_scenes import CaptionedBatch, CaptionedScenes, held_out_batch
from baselines.datasets.scene_captions import Captioned, worded
from baselines.datasets.scene_drawing import draw
from baselines.datasets.scene_falsehoods import (
    CHANGES,
    changed,
    false_captions,
    hard_statements,
    relations,
)
from baselines.datasets.scene_statements import clearly_false
from baselines.datasets.scenes import BACKGROUNDS, KINDS, SEEN, SIZES, TRAIN, Split
from baselines.streams import numpy_generator, seeded, torch_generator
from baselines.teachers.resumable import Recipe, Training
from bench.scene_head import TOLD_NUMBERS, level, related_loss, told, told_loss
from metrics.caption_ranking import caption_scores, ranked_first
from metrics.features.clip import ClipFeatures
from metrics.features.shapes import RIDGE, ShapesNetwork, features_loss
from metrics.features.shapes_clip import (
    CONTEXT,
    contrastive_loss,
    encoded,
    normalised,
    shapes_clip_network,
)

CLIP_RECIPE = Recipe(iterations=4_000, batch=64, lr=2e-3, ema_half_life=20_000, seed=21)
SEEING = 1_500  # iterations without the contrast, which more than doubles their cost
FEATURES_RECIPE = Recipe(iterations=4_000, batch=64, lr=2e-3, ema_half_life=20_000, seed=31)
HARD = 4  # false captions for each scene; those of other scenes rarely differ in place alone
FALSE, FALSE_HARD = 100, 50  # captions of the trust check, and how many of them at most are one change away
WHITENED = 4_096  # scenes that the features are whitened on


class ClipTraining(Training):
    """Trains ``open_clip.CLIP`` on scenes, their captions and hard false ones.

    Beside the contrast one linear head, dropped at the end, tells the scene from the embedding of its picture
    and, as far as it can, from that of its caption: the contrast alone leaves place and relation near chance.

    Args:
        byte_pairs: the file of the vocabulary; recipe: settings.
    """

    def __init__(self, byte_pairs: Path, recipe: Recipe = CLIP_RECIPE) -> None:
        import open_clip

        self.byte_pairs = byte_pairs
        self.tokenizer = open_clip.SimpleTokenizer(bpe_path=str(byte_pairs), context_length=CONTEXT)
        with seeded(recipe.seed, "init"):
            network = shapes_clip_network(self.tokenizer.vocab_size)
            head = nn.Linear(network.visual.output_dim, TOLD_NUMBERS)
        super().__init__(nn.ModuleDict({"clip": network, "head": head}), recipe)
        self.scenes = CaptionedScenes(TRAIN, recipe.seed)

    def batch_loss(self) -> Tensor:
        batch = self.scenes.batch(self.iteration, self.recipe.batch)
        return self.loss(self.network, batch, numpy_generator(self.recipe.seed, "falsehoods", self.iteration))

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """On held-out scenes."""
        return float(self.loss(self.average, held_out_batch(), numpy_generator(0, "falsehoods")))

    def loss(self, network: Any, batch: CaptionedBatch, rng: np.random.Generator) -> Tensor:
        """What is told of each scene and, once that is learned, the contrast with what is false of it."""
        clip, contrast = network["clip"], self.iteration >= SEEING
        false = [  # the relation reversed is always there: it has the very words of the true caption
            [*relations(one.statement), *hard_statements(one, rng, HARD if contrast else 0, SEEN)]
            for one in batch.shown
        ]
        hard = [statement for own in false for statement in own]
        texts = [one.caption for one in batch.shown] + [worded(statement, rng) for statement in hard]
        pictures = clip.encode_image(normalised(torch.from_numpy(batch.images)))
        captions = encoded(clip, self.tokenizer(texts))
        seen, read = network["head"](level(pictures)), network["head"](level(captions))
        facts = told([one.scene for one in batch.shown])
        loss = told_loss(seen, facts) + told_loss(read[: len(pictures)], facts)
        loss = loss + related_loss(read, [*(one.statement for one in batch.shown), *hard])
        if contrast:
            allowed = false_pairs(batch, [len(own) for own in false])
            loss = loss + contrastive_loss(clip.logit_scale.exp(), pictures, captions, allowed)
        return loss


def false_pairs(batch: CaptionedBatch, hard: Sequence[int]) -> Tensor:
    """Which captions count for which scene, bool ``[N, N + sum(hard)]``: its own and what is false of it.

    Of the hard captions, ``hard`` of each scene in turn, only its own: they may be true of another.
    """
    count, total = len(batch.shown), len(batch.shown) + sum(hard)
    allowed = np.zeros((count, total), bool)
    statements, scenes = [one.statement for one in batch.shown], [one.scene for one in batch.shown]
    allowed[:, :count] = clearly_false(statements, scenes).T
    np.fill_diagonal(allowed, True)
    allowed[np.repeat(np.arange(count), hard), np.arange(count, total)] = True
    return torch.from_numpy(allowed)


class FeaturesTraining(Training):
    """Trains the features of the Frechet distance to tell attributes and corruption and to redraw."""

    network: ShapesNetwork

    def __init__(self, recipe: Recipe = FEATURES_RECIPE) -> None:
        with seeded(recipe.seed, "init"):
            network = ShapesNetwork(len(KINDS) + len(BACKGROUNDS) + len(KINDS) * len(SIZES))
        super().__init__(network, recipe)
        self.scenes = CaptionedScenes(TRAIN, recipe.seed)

    def batch_loss(self) -> Tensor:
        batch = self.scenes.batch(self.iteration, self.recipe.batch)
        return _features_loss(
            self.network, batch, torch_generator(self.recipe.seed, "train-noise", self.iteration)
        )

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """On held-out scenes."""
        batch = held_out_batch()
        return float(_features_loss(self.average, batch, torch_generator(0, "train-noise")))

    def finished(self) -> ShapesNetwork:
        """The averaged network, whitened on scenes of the training."""
        average: Any = self.average
        average.whiten_by(torch.from_numpy(self.scenes.rows(0, WHITENED).images).float() / 255, RIDGE)
        return average  # type: ignore[no-any-return]


def _features_loss(network: Any, batch: CaptionedBatch, generator: torch.Generator) -> Tensor:
    return features_loss(network, torch.from_numpy(batch.images), facts(batch.shown), generator)


def facts(shown: list[Captioned]) -> Tensor:
    """Which kinds are there, on which background, and which kinds in which size: 0 or 1, ``[N, F]``."""
    rows = []
    for one in shown:
        kinds = [(thing.colour, thing.shape) for thing in one.scene.things]
        sized = [(thing.colour, thing.shape, thing.size) for thing in one.scene.things]
        rows.append(
            [kind in kinds for kind in KINDS]
            + [name == one.scene.background for name in BACKGROUNDS]
            + [(*kind, size) in sized for kind in KINDS for size in SIZES]
        )
    return torch.tensor(rows, dtype=torch.float32)


def trust(clip: ClipFeatures, split: Split, scenes: int, seed: int = 0) -> dict[str, Any]:
    """How far captions of held-out scenes can be told from false ones by a CLIP.

    Returns ``first``, the share of scenes whose caption ranks first among ``FALSE`` false ones, and
    ``falls``: by sort of change, the share of scenes whose score falls when their caption is changed so.
    """
    apart = FALSE * 10  # false captions come from the scenes between
    sets = [false_captions(split, seed, i * apart, FALSE, FALSE_HARD) for i in range(scenes)]
    pictures = torch.from_numpy(draw([one.scene for one, _ in sets]))
    scores = caption_scores(clip, pictures, [[one.caption, *false] for one, false in sets])
    falls = {}
    for change in CHANGES:
        pairs, rows = [], []
        for row, (one, _) in enumerate(sets):
            rng = numpy_generator(seed, "falsehoods", row)
            new = next(changed(one, change, rng), None)
            if new is not None:
                rows.append(row)
                pairs.append([worded(one.statement, rng), worded(new, rng)])
        if rows:
            falls[change] = ranked_first(caption_scores(clip, pictures[rows], pairs))
    return {
        "scenes": scenes,
        "false": FALSE,
        "first": ranked_first(scores),
        "falls": falls,
    }
