"""Training of the networks that score the suite ``shapes``: its CLIP and its features.

They see scenes of seeds of their own; nothing that a method or the teacher learns from is shared with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.datasets.captioned_scenes import CaptionedBatch, CaptionedScenes, held_out_batch
from baselines.datasets.scene_captions import Captioned, worded
from baselines.datasets.scene_drawing import draw
from baselines.datasets.scene_falsehoods import CHANGES, changed, false_captions, hard_captions
from baselines.datasets.scene_statements import clearly_false
from baselines.datasets.scenes import BACKGROUNDS, KINDS, SEEN, SIDE, SIZES, TRAIN, Scene, Split
from baselines.streams import numpy_generator, seeded, torch_generator
from baselines.teachers.resumable import Recipe, Training
from metrics.caption_ranking import caption_scores, ranked_first
from metrics.features.clip import ClipFeatures
from metrics.features.shapes import ShapesNetwork, features_loss
from metrics.features.shapes_clip import (
    CONTEXT,
    contrastive_loss,
    encoded,
    normalised,
    shapes_clip_network,
)

CLIP_RECIPE = Recipe(iterations=4_000, batch=64, lr=2e-3, ema_half_life=20_000, seed=21)
SEEING = 1_000  # iterations without the contrast, which costs five times as much
FEATURES_RECIPE = Recipe(iterations=6_000, batch=64, lr=2e-3, ema_half_life=20_000, seed=31)
HARD = 5  # false captions for each scene; those of other scenes rarely differ in place alone
FALSE, FALSE_HARD = 100, 50  # captions of the trust check, and how many of them at most are one change away
TOLD = 4  # numbers that the head tells of a kind: whether it is there, x, y, radius
PLACED = 2.0  # weight of place and size beside presence
LARGEST = 6.0  # pixels, above every radius
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
            head = nn.Linear(network.visual.output_dim, TOLD * len(SEEN) + len(BACKGROUNDS))
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
        clip, texts = network["clip"], [one.caption for one in batch.shown]
        contrast = self.iteration >= SEEING
        hard = [hard_captions(one, rng, HARD, SEEN) if contrast else [] for one in batch.shown]
        pictures = clip.encode_image(normalised(torch.from_numpy(batch.images)))
        captions = encoded(clip, self.tokenizer(texts + [text for own in hard for text in own]))
        facts = told([one.scene for one in batch.shown])
        sources = (pictures, captions[: len(texts)])
        loss = torch.stack([told_loss(network["head"](level(one)), facts) for one in sources]).sum()
        if contrast:
            allowed = false_pairs(batch, [len(own) for own in hard])
            loss = loss + contrastive_loss(clip.logit_scale.exp(), pictures, captions, allowed)
        return loss


def level(embedded: Tensor) -> Tensor:
    """Embeddings in the length of their dimension's root: numbers around 1, for the head."""
    return F.normalize(embedded, dim=1) * embedded.shape[1] ** 0.5


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


def told_loss(found: Tensor, facts: Facts) -> Tensor:
    """Cross-entropy of kinds, summed, and of backgrounds; squared error of place and size of what is there.

    Args:
        found: of the head ``[N, TOLD * K + backgrounds]``.
    """
    kinds, places, grounds = found.split([len(SEEN), (TOLD - 1) * len(SEEN), len(BACKGROUNDS)], dim=1)
    error = (places.unflatten(1, (-1, 3)) - facts.where).square().sum(2) * facts.there
    presence = F.binary_cross_entropy_with_logits(kinds, facts.there, reduction="none").sum(1).mean()
    return presence + F.cross_entropy(grounds, facts.ground) + PLACED * error.sum() / facts.there.sum()


class FeaturesTraining(Training):
    """Trains the features of the Frechet distance to tell attributes and corruption and to redraw."""

    network: ShapesNetwork

    def __init__(self, recipe: Recipe = FEATURES_RECIPE) -> None:
        network = ShapesNetwork(len(KINDS) + len(BACKGROUNDS) + len(KINDS) * len(SIZES))
        network.initialise(torch_generator(recipe.seed, "init"))
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
        average.set_whitening(torch.from_numpy(self.scenes.rows(0, WHITENED).images))
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
