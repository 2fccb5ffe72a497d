"""The class-conditional distance and the floor on Gaussian classes with known answers."""

import numpy as np
import pytest

from metrics.class_frechet import class_frechet_distance
from metrics.floor import bootstrap_floor, class_frechet_floor, frechet_floor
from metrics.frechet import frechet_distance
from metrics.moments import Moments

CLASSES = 4


def labelled(seed, rows=4000, dimension=3):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % CLASSES
    return 5 * np.eye(CLASSES, dimension)[labels] + rng.standard_normal((rows, dimension)), labels


def distance(a, b, **options):
    return class_frechet_distance(
        real=a[0], real_labels=a[1], fake=b[0], fake_labels=b[1], classes=CLASSES, **options
    )


def test_is_the_mean_over_classes():
    real, fake = labelled(0), labelled(1)
    expected = np.mean(
        [
            frechet_distance(Moments.of(real[0][real[1] == c]), Moments.of(fake[0][fake[1] == c]))
            for c in range(CLASSES)
        ]
    )
    assert distance(real, fake) == pytest.approx(expected)
    assert distance(real, real) == pytest.approx(0, abs=1e-9)


def test_a_shift_of_one_class_counts_as_its_share():
    features, labels = labelled(2)
    moved = features + 2.0 * (labels == 1)[:, None] * np.array([1.0, 0.0, 0.0])
    assert distance((features, labels), (moved, labels)) == pytest.approx(4 / CLASSES)
    rare = np.concatenate([np.flatnonzero(labels == 1)[:50], np.flatnonzero(labels != 1)])
    assert distance((features, labels), (moved[rare], labels[rare])) == pytest.approx(4 / CLASSES, rel=0.3)


def test_rises_with_the_share_of_wrong_labels():
    real, (features, labels) = labelled(3), labelled(4)
    rng = np.random.default_rng(5)
    found = []
    for share in (0.0, 0.05, 0.2, 0.5, 1.0):
        wrong = labels.copy()
        rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
        wrong[rows] = labels[rng.permutation(rows)]
        found.append(distance(real, (features, wrong)))
    assert (np.diff(found) > 0).all()


def test_too_few_rows_of_a_class_are_refused_by_name():
    real, (features, labels) = labelled(6), labelled(7)
    for keep, message in ((1, "at least 2 rows, found 1"), (3, "in 3 dimensions from 3 rows")):
        rows = np.concatenate([np.flatnonzero(labels == 2)[:keep], np.flatnonzero(labels != 2)])
        with pytest.raises(ValueError, match=rf"class 2 \(1000 real and {keep} fake rows\): .*{message}"):
            distance(real, (features[rows], labels[rows]))
    assert distance(real, (features[rows], labels[rows]), allow_singular=True) > 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(5, int), "fake labels: expected 4000 integer labels"),
        (np.zeros(4000), "integer labels"),
        (np.full(4000, 4), r"labels in 0..3, found 4..4"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        distance(labelled(8), (labelled(8)[0], labels))


def test_floor_falls_with_n_and_is_that_of_bootstrap_draws():
    features, labels = labelled(9, 1000)
    small, large = (frechet_floor(features, n, np.random.default_rng(0), draws=20) for n in (200, 2000))
    assert small.mean > 5 * large.mean > 0  # the bias falls as 1 / N
    assert small.std > large.std > 0
    whole = Moments.of(features)
    rows = np.random.default_rng(0).integers(1000, size=200)
    assert small.values[0] == frechet_distance(Moments.of(features[rows]), whole)
    by_class = class_frechet_floor(features, labels, CLASSES, 2000, np.random.default_rng(0), draws=5)
    assert by_class.mean > large.mean


def test_floor_is_repeatable_and_refuses_nothing_to_draw():
    features, _ = labelled(10, 300)
    first, second = (frechet_floor(features, 200, np.random.default_rng(1), draws=3) for _ in range(2))
    assert first == second
    with pytest.raises(ValueError, match="one or more finite numbers"):
        bootstrap_floor(lambda rows: 0.0, lambda: np.arange(3), draws=0)


def test_class_floor_asks_for_every_class_equally():
    features, labels = labelled(11, 1000)
    rows = np.concatenate([np.flatnonzero(labels != 3), np.flatnonzero(labels == 3)[:9]])  # a rare class
    found = class_frechet_floor(features[rows], labels[rows], CLASSES, 40, np.random.default_rng(0), draws=3)
    assert len(found.values) == 3  # 40 plain draws of 759 rows would hold too few of the rare class
