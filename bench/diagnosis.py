"""The report beside the headline: what a finished cell copies, what it leaves out, how sure its distance is.

Everything comes from stored samples: those of the cell, and those of the suite's teacher on the same noise.
Nothing here is ranked by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

import numpy as np

from baselines.datasets.digits import load_digits
from bench.errors import UsageError
from bench.evaluation import DigitsEvaluator, PointsEvaluator
from bench.evaluator import Evaluator
from bench.record import Row
from bench.report.describe import block
from bench.stored import StoredCell
from metrics.intervals import IntervalEstimate, frechet_interval
from metrics.memorisation import (
    Balance,
    Rate,
    class_balance,
    class_coverage,
    nearest_training_rate,
    teacher_copy_rate,
)
from metrics.moments import Moments

Fact = tuple[str, str]


@dataclass(frozen=True)
class Answers:
    """The teacher's samples on the noise of the first repeat.

    Attributes:
        label: what they are called; samples: as scored.
    """

    label: str
    samples: np.ndarray


def diagnosis_text(folder: str | Path) -> str:
    """The report on a finished cell.

    Raises:
        UsageError: no finished cell there, or a suite that has no report; AssetError: samples missing.
    """
    cell = StoredCell.open(folder)
    answers = teacher_answers(cell)
    parts = [f"report on {cell.record.label}, {cell.record.suite}, seed {cell.record.seed} (not ranked by)"]
    for row in cell.record.rows:
        facts = facts_of(cell.evaluator, cell.blocks(row), answers)
        parts += ["", f"{row.nfe} evaluation{'s' if row.nfe != 1 else ''}", block(facts)]
    if answers is None and cell.record.kind == "student":
        parts += [
            "",
            "teacher copies: no teacher under this protocol beside the cell; run the suite's teacher",
        ]
    return "\n".join(parts)


def teacher_answers(cell: StoredCell) -> Answers | None:
    """Samples of the teacher with the most evaluations, run into the same folder; None if there are none."""
    if cell.record.kind not in ("student", "solver"):
        return None
    found: list[tuple[int, StoredCell, Row]] = []
    for path in sorted(cell.folder.parent.glob("*/record.json")):
        try:
            other = StoredCell.open(path.parent)
        except UsageError:
            continue
        same = other.record.protocol == cell.record.protocol
        if other.record.kind == "teacher" and same:
            found += [(row.nfe, other, row) for row in other.record.rows]
    if not found:
        return None
    nfe, teacher, row = max(found, key=lambda one: one[0])
    return Answers(f"{teacher.record.label}@{nfe}", teacher.blocks(row)[0])


@singledispatch
def facts_of(evaluator: Evaluator, blocks: list[np.ndarray], answers: Answers | None) -> list[Fact]:
    """What there is to say about a row's blocks of samples under a suite's evaluator."""
    raise UsageError(f"{type(evaluator).__name__}: this suite's samples have no report")


@facts_of.register
def _(evaluator: PointsEvaluator, blocks: list[np.ndarray], answers: Answers | None) -> list[Fact]:
    mixture, points = evaluator.mixture, blocks[0]
    modes = np.square(points[:, None] - mixture.means).sum(axis=2).argmin(axis=1)
    found = [("mode balance", balance_text(class_balance(modes, len(mixture.means)), "mode"))]
    return [*copies(blocks[0], answers, None), *found]


@facts_of.register
def _(evaluator: DigitsEvaluator, blocks: list[np.ndarray], answers: Answers | None) -> list[Fact]:
    train, held_out = load_digits()
    images, asked = blocks[0], np.arange(len(blocks[0])) % train.n_classes
    features, logits = evaluator.extractor.features_and_logits(images)
    nearest = nearest_training_rate(
        fake=flat(images), train=flat(train.images), held_out=flat(held_out.images)
    )
    predicted = logits.argmax(1)
    covered = class_coverage(
        real=evaluator.reference,
        real_labels=train.labels,
        fake=features,
        fake_labels=asked,
        classes=train.n_classes,
    )
    pooled = np.concatenate([evaluator.extractor.features(each) for each in blocks])
    distance = frechet_interval(pooled, Moments.of(evaluator.reference))
    worst = int(covered.argmin())
    return [
        (
            "nearest training image",
            rate_text(nearest, "of samples lie nearer to a training than to a held-out one"),
        ),
        *copies(flat(images), answers, asked),
        ("class balance", balance_text(class_balance(predicted, train.n_classes), "class")),
        ("class coverage", f"{covered.mean():.3f} on average; least in class {worst}: {covered[worst]:.3f}"),
        ("FD at infinite N", interval_text(distance, len(pooled))),
    ]


def copies(samples: np.ndarray, answers: Answers | None, labels: np.ndarray | None) -> list[Fact]:
    """The teacher-copy rate, where the teacher's answers are there."""
    if answers is None or len(answers.samples) != len(samples):
        return []
    theirs = answers.samples if answers.samples.ndim == 2 else flat(answers.samples)
    rate = teacher_copy_rate(student=samples, teacher=theirs, labels=labels)
    return [
        ("teacher copies", rate_text(rate, f"are nearest to the answer of {answers.label} to their noise"))
    ]


def flat(images: np.ndarray) -> np.ndarray:
    """Images as vectors, pixels in [0, 1]."""
    return np.asarray(images.reshape(len(images), -1) / 255.0)


def rate_text(rate: Rate, what: str) -> str:
    """A rate with its interval and chance."""
    low, high = rate.ci95
    return f"{rate.rate:.1%} [{low:.1%}, {high:.1%}] {what}; chance {rate.chance:.2%}"


def balance_text(balance: Balance, kind: str) -> str:
    """The least served class, and how many are filled."""
    label, share = balance.smallest
    return (
        f"least served {kind} {label}: {share:.2f} of its share; {balance.effective:.2f} of "
        f"{len(balance.shares)} filled; {balance.total_variation:.1%} of the samples misplaced"
    )


def interval_text(found: IntervalEstimate, rows: int) -> str:
    """An estimate, its interval and how it was made."""
    low, high = found.ci95
    return (
        f"{found.estimate:.4f} [{low:.4f}, {high:.4f}] ({found.interval}); {found.plain:.4f} as measured "
        f"on {rows:,} samples"
    )
