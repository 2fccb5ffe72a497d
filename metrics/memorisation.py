"""Does a generator copy, and does it leave something out? A report beside the headline, never ranked by.

Rates of copying are set against exact chance: what a generator that knows nothing of the training rows, or of
the teacher's answers, would reach. Rows are vectors: features, or images flattened to ``[N, d]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import class_labels, matching

BLOCK = 1000  # rows of a block of distances
TIE = 1e-9  # of the squared scale: distances that differ by rounding alone
Z = 1.959964  # 97.5 % quantile of the normal law


@dataclass(frozen=True)
class Rate:
    """A share of samples beside what chance gives.

    Attributes:
        rate, chance: in 0..1.
        count: samples behind the rate.
        ci95: Wilson's interval of the rate, for these sets and other samples.
    """

    rate: float
    chance: float
    count: int

    @property
    def excess(self) -> float:
        """Beyond chance: 0 for a generator that does not copy, 1 for one that always does."""
        return (self.rate - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0

    @property
    def ci95(self) -> tuple[float, float]:
        n, z = self.count, Z
        centre = (self.rate + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * float(np.sqrt(self.rate * (1 - self.rate) / n + z * z / (4 * n * n)))
        return centre - half, centre + half


def nearest_training_rate(*, fake: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> Rate:
    """Share of fakes ``[N, d]`` whose nearest real row is a training row rather than a held-out one.

    A generator that has not seen which rows are which cannot tell them apart, so that chance is the share of
    training rows among all real ones. A tie counts half.

    Raises:
        ValueError: the sets differ in d, are empty or not finite.
    """
    rows, known = matching(fake, train, ("fake", "train"))
    _, unseen = matching(fake, held_out, ("fake", "held_out"))
    found = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        ours, theirs = _squares(block, known), _squares(block, unseen)
        gap, slack = ours.min(1) - theirs.min(1), TIE * _scale(known)
        found.append(np.where(gap < -slack, 1.0, np.where(gap > slack, 0.0, 0.5)))
    share = len(known) / (len(known) + len(unseen))
    return Rate(float(np.concatenate(found).mean()), share, len(rows))


def teacher_copy_rate(*, student: ArrayLike, teacher: ArrayLike, labels: ArrayLike | None = None) -> Rate:
    """Share of student samples that are nearer to the teacher's answer to their own noise than to any other.

    Row i of ``student [N, d]`` and of ``teacher [N, d]`` comes from the same noise and label; answers of one
    label are compared. Chance is 1 over their number. Methods that regress on the teacher's answers reach a
    high rate by design, those that match its law need not. A tie of k answers counts 1 / k.

    Raises:
        ValueError: shapes differ, values are not finite, or labels are not one integer a row.
    """
    ours, theirs = matching(student, teacher, ("student", "teacher"))
    if len(ours) != len(theirs):
        raise ValueError(f"student and teacher: found {len(ours)} and {len(theirs)} rows; expected one each")
    named = np.zeros(len(ours), np.int64) if labels is None else np.asarray(labels)
    named = class_labels(named, len(ours), int(named.max(initial=0)) + 1, "labels")
    found, slack = np.zeros(len(ours)), TIE * _scale(theirs)
    groups = [np.flatnonzero(named == label) for label in np.unique(named)]
    for group in groups:
        for rows in _split(group):
            squares = _squares(ours[rows], theirs[group])
            own = squares[np.arange(len(rows)), np.searchsorted(group, rows)][:, None]
            nearer = (squares < own - slack).any(axis=1)
            found[rows] = np.where(nearer, 0.0, 1 / (np.abs(squares - own) <= slack).sum(axis=1))
    return Rate(float(found.mean()), len(groups) / len(ours), len(ours))


@dataclass(frozen=True, eq=False)
class Balance:
    """How samples are spread over classes.

    Attributes:
        shares: of every class over its fair share ``[classes]``; 1 is fair.
        total_variation: share of the samples that would have to move; 0 is fair.
        effective: number of classes, by the exponential of the entropy, that the samples fill.
    """

    shares: np.ndarray
    total_variation: float
    effective: float

    @property
    def smallest(self) -> tuple[int, float]:
        """The least served class and its share over the fair one."""
        label = int(self.shares.argmin())
        return label, float(self.shares[label])


def class_balance(predicted: ArrayLike, classes: int, expected: ArrayLike | None = None) -> Balance:
    """Balance of predicted classes ``[N]`` against expected shares ``[classes]`` (default: equal).

    Raises:
        ValueError: a label outside 0..classes-1, or an expected share that is not positive.
    """
    values = np.asarray(predicted)
    found = np.bincount(class_labels(values, len(values), classes, "predicted"), minlength=classes)
    share = found / found.sum()
    fair = np.full(classes, 1 / classes) if expected is None else np.asarray(expected, np.float64)
    if fair.shape != (classes,) or not (fair > 0).all():
        raise ValueError(f"expected: {classes} positive shares, found {fair.tolist()}")
    fair = fair / fair.sum()
    present = share[share > 0]
    entropy = float(-(present * np.log(present)).sum())
    return Balance(share / fair, float(np.abs(share - fair).sum() / 2), float(np.exp(entropy)))


def class_coverage(
    *,
    real: ArrayLike,
    real_labels: ArrayLike,
    fake: ArrayLike,
    fake_labels: ArrayLike,
    classes: int,
    k: int = 3,
) -> np.ndarray:
    """Coverage within every class ``[classes]``: real rows with a fake nearer than their k-th real neighbour.

    Coverage of Naeem et al. (2020, arXiv:2002.09797), by the class that was asked for: a class that shows one
    image over and over has a low one even where the classifier agrees. A class without fakes has 0.

    Raises:
        ValueError: shapes do not match, or a class has no more than k real rows.
    """
    real, fake = matching(real, fake, ("real", "fake"))
    known = class_labels(real_labels, len(real), classes, "real labels")
    asked = class_labels(fake_labels, len(fake), classes, "fake labels")
    covered = np.zeros(classes)
    for label in range(classes):
        ours, theirs = real[known == label], fake[asked == label]
        if len(ours) <= k:
            raise ValueError(f"class {label}: {len(ours)} real rows; expected more than k = {k}")
        if len(theirs) == 0:
            continue
        hit = []
        for rows in _split(np.arange(len(ours))):
            radius = np.partition(_squares(ours[rows], ours), k, axis=1)[:, k]  # the first is the row itself
            hit.append(_squares(ours[rows], theirs).min(axis=1) < radius)
        covered[label] = np.concatenate(hit).mean()
    return covered


def _split(indices: np.ndarray) -> Iterator[np.ndarray]:
    return (indices[start : start + BLOCK] for start in range(0, len(indices), BLOCK))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances ``[len(a), len(b)]``."""
    return np.asarray((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T)


def _scale(rows: np.ndarray) -> float:
    return float((rows * rows).sum(1).max())
