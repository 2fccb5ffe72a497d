"""The digits features earn trust: on the real digits, worse sets must lie further from the training set.

Every bar is also shown to fail for an extractor that deserves to fail it: untrained weights (whitened as the
shipped ones are, so that only the learning is missing), or features that never change.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from baselines.datasets.digits import load_digits
from metrics.class_frechet import class_frechet_distance
from metrics.features.digits import WEIGHTS, DigitsFeatures, DigitsNetwork, load_digits_features
from metrics.features.digits_training import (
    DigitsTraining,
    accuracy,
    blur_matrix,
    shifted,
    teach_digits_features,
    train_digits_features,
)
from metrics.features.whitened import whitening
from metrics.frechet import frechet_distance
from metrics.moments import Moments
from metrics.prdc import precision_recall

TRAIN, HELD_OUT = load_digits()
BLURS = (0.3, 0.45, 0.6, 0.8, 1.2, 2.0, 3.0)  # pixels
NOISES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6)  # pixels in [0, 1]
SHUFFLES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def blurred(images, std):
    return np.rint(gaussian_filter(images.astype(float), (0, 0, std, std))).astype(np.uint8)


def noisy(images, std, seed=0):
    noise = 255 * std * np.random.default_rng(seed).standard_normal(images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def class_means():
    means = [np.rint(TRAIN.images[TRAIN.labels == c].mean(axis=0)).astype(np.uint8) for c in range(10)]
    return np.stack(means)[TRAIN.labels]


class Scale:
    """Distances to the training set as an extractor sees them."""

    def __init__(self, extractor):
        self.extractor = extractor
        self.train = extractor.features(TRAIN.images)
        self.reference = Moments.of(self.train)
        self.held_out = self(HELD_OUT.images)

    def __call__(self, images):
        return self.between(self.extractor.features(images))

    def between(self, features):
        return frechet_distance(Moments.of(features), self.reference)

    def by_class(self, features):
        return class_frechet_distance(
            real=self.train, real_labels=TRAIN.labels, fake=features, fake_labels=TRAIN.labels, classes=10
        )

    def without(self, *dropped):
        return self.between(self.train[~np.isin(TRAIN.labels, dropped)])


class Blind:
    """Features that never change."""

    def features(self, images):
        return np.ones((len(images), 32))


@pytest.fixture(scope="module")
def shipped():
    return Scale(load_digits_features())


@pytest.fixture(scope="module")
def untrained():
    network = DigitsNetwork()
    network.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        activations = network(torch.from_numpy(TRAIN.images).float() / 255).double()
    centre, whiten = whitening(activations, DigitsTraining().ridge)
    network.centre.copy_(centre)
    network.whiten.copy_(whiten)
    return Scale(DigitsFeatures(network, ""))


def rising(values):
    return bool((np.diff(values) > 0).all())


def test_rises_strictly_with_blur(shipped):
    assert rising([0.0, *(shipped(blurred(TRAIN.images, std)) for std in BLURS)])
    assert shipped(blurred(TRAIN.images, 0.6)) > 5 * shipped.held_out
    assert not rising([Scale(Blind())(blurred(TRAIN.images, std)) for std in BLURS])


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_rises_strictly_with_noise(shipped, seed):
    assert rising([0.0, *(shipped(noisy(TRAIN.images, std, seed)) for std in NOISES)])
    assert shipped(noisy(TRAIN.images, 0.1, seed)) > 1.5 * shipped.held_out
    assert not rising([Scale(Blind())(noisy(TRAIN.images, std, seed)) for std in NOISES])


def test_small_noise_is_learned_to_matter(shipped, untrained):
    image_noise = noisy(TRAIN.images, 0.1)
    assert (
        untrained(image_noise) < untrained.held_out
    )  # the bar above is one that weights must be trained for


def drop_shares(scale):
    return np.array([scale.without(c) for c in range(10)]) / scale.held_out


def test_dropping_any_class_shows(shipped, untrained):
    assert drop_shares(shipped).min() > 0.5
    assert drop_shares(untrained).min() < 0.3
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(10)
        assert rising([shipped.without(*order[:count]) for count in range(10)])


def test_class_means_are_far_and_accuracy_is_fooled(shipped):
    means = class_means()
    assert shipped(means) > 10 * shipped.held_out
    assert accuracy(shipped.extractor, means, TRAIN.labels) > 0.99  # which is why it never ranks


def test_lack_of_variety_shows_in_distance_and_recall(shipped):
    few = np.concatenate([np.flatnonzero(TRAIN.labels == c)[:14] for c in range(10)])
    assert shipped(TRAIN.images[few]) > 2 * shipped.held_out
    rng = np.random.default_rng(0)
    half = rng.permutation(len(TRAIN))
    first, second = shipped.train[half[:719]], shipped.train[half[719:]]
    honest = precision_recall(real=first, fake=second)
    assert min(honest) > 0.7
    means = shipped.extractor.features(class_means())[half[719:]]
    assert precision_recall(real=first, fake=means).recall < 0.05


def shuffled(features, share, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(features), round(share * len(features)), replace=False)
    moved = features.copy()
    moved[rows] = features[rng.permutation(rows)]
    return moved


def test_shuffled_labels_show_in_the_class_distance_only(shipped):
    sets = [shuffled(shipped.train, share) for share in SHUFFLES]
    assert rising([shipped.by_class(features) for features in sets])
    assert max(shipped.between(features) for features in sets) < 1e-9
    blind = Scale(Blind())
    assert not rising([blind.by_class(shuffled(blind.train, share)) for share in SHUFFLES])


def test_class_accuracy_on_held_out_digits(shipped, untrained):
    found = accuracy(shipped.extractor, HELD_OUT.images, HELD_OUT.labels)
    assert found > 0.97
    assert found == pytest.approx(json.loads(WEIGHTS.with_suffix(".json").read_text())["held_out_accuracy"])
    assert accuracy(untrained.extractor, HELD_OUT.images, HELD_OUT.labels) < 0.5


def test_grey_levels_within_rounding_of_the_data_do_not_show(shipped):
    """A generator's 256 grey levels must not count against it where the data has 17."""
    jitter = np.random.default_rng(0).integers(-7, 8, size=TRAIN.images.shape)
    assert shipped(np.clip(TRAIN.images + jitter, 0, 255).astype(np.uint8)) < 0.15 * shipped.held_out


@pytest.mark.parametrize("batch_size", [1, 7, 100, 359])
def test_results_do_not_depend_on_batch_size(shipped, batch_size):
    extractor, images = shipped.extractor, HELD_OUT.images
    for read in (extractor.features, extractor.class_logits):
        np.testing.assert_allclose(read(images, batch_size), read(images), atol=1e-9)


def test_features_are_fp64_with_the_variance_promised(shipped):
    assert shipped.train.dtype == np.float64 and shipped.train.shape == (1438, 32)
    assert shipped.extractor.dimension == 32
    assert np.trace(shipped.reference.cov) == pytest.approx(32, rel=1e-4)
    np.testing.assert_allclose(shipped.reference.mean, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 1, 8, 8)), "expected uint8 images"),
        (np.zeros((2, 1, 16, 16), np.uint8), r"shape \[1, 8, 8\], found \[1, 16, 16\]"),
        (np.zeros((0, 1, 8, 8), np.uint8), "expected uint8 images"),
    ],
)
def test_other_images_are_refused(shipped, images, message):
    with pytest.raises(ValueError, match=message):
        shipped.extractor.features(images)


def test_changed_weights_are_refused_with_both_digests(tmp_path, shipped):
    for name in (WEIGHTS, WEIGHTS.with_suffix(".json")):
        shutil.copy(name, tmp_path)
    copy = tmp_path / WEIGHTS.name
    assert load_digits_features(copy).digest == shipped.extractor.digest
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    both = rf"expected sha256 {shipped.extractor.digest}, found [0-9a-f]{{64}};"
    with pytest.raises(ValueError, match=both):
        load_digits_features(copy)


def taught(path, seed):
    settings = DigitsTraining(iterations=12, batch=32)
    sets = ((TRAIN.images, TRAIN.labels), (HELD_OUT.images, HELD_OUT.labels))
    return teach_digits_features(train=sets[0], held_out=sets[1], seed=seed, weights=path, settings=settings)


def test_training_repeats_to_the_bit_and_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    digests = [taught(tmp_path / f"{i}.safetensors", seed).digest for i, seed in enumerate((0, 0, 1))]
    assert torch.equal(before, torch.get_rng_state())
    assert digests[0] == digests[1] != digests[2]


def test_what_was_taught_is_what_is_loaded(tmp_path):
    path = tmp_path / "new" / "digits.safetensors"
    made, loaded = taught(path, 0), load_digits_features(path)
    assert made.digest == loaded.digest
    images = HELD_OUT.images[:20]
    np.testing.assert_array_equal(made.features(images), loaded.features(images))
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["seed"] == 0 and about["settings"]["iterations"] == 12
    assert about["held_out_accuracy"] == accuracy(loaded, HELD_OUT.images, HELD_OUT.labels)


def test_training_learns_the_classes():
    network = train_digits_features(TRAIN.images, TRAIN.labels, 0, DigitsTraining(iterations=120, batch=64))
    assert accuracy(DigitsFeatures(network, ""), HELD_OUT.images, HELD_OUT.labels) > 0.6


def test_training_refuses_bad_labels():
    with pytest.raises(ValueError, match="training labels: expected labels in 0"):
        train_digits_features(TRAIN.images, TRAIN.labels + 1, 0)


def test_blur_matrix_keeps_the_mean_and_spreads_by_its_std():
    blur = blur_matrix(torch.tensor([0.0, 0.5, 1.0]), size=33)
    torch.testing.assert_close(blur.sum(-1), torch.ones(3, 33))
    torch.testing.assert_close(blur[0], torch.eye(33))
    spread = (blur[2, 16] * (torch.arange(33) - 16) ** 2).sum().sqrt()
    assert float(spread) == pytest.approx(1.0, abs=1e-3)


def test_shifts_move_by_at_most_a_pixel_and_let_black_in():
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(600, 1, 8, 8)
    x[:, 0, 4, 2] = 1
    moved = shifted(x, 0.6, generator)
    where = moved.nonzero()[:, 2:].float()
    assert len(where) == 600 and moved.sum() == 600
    assert set(map(tuple, where.int().tolist())) == {(i, j) for i in (3, 4, 5) for j in (1, 2, 3)}
    still = float((where == torch.tensor([4.0, 2.0])).all(1).float().mean())
    assert still == pytest.approx(0.16, abs=0.06)
    corner = torch.zeros(200, 1, 8, 8)
    corner[:, 0, 0, 0] = 1
    assert 0 < float(shifted(corner, 0.6, generator).sum()) < 200
    assert torch.equal(shifted(x, 0.0, generator), x)
