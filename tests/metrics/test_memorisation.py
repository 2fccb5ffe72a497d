"""Copying is found and honest generators stand at chance; a collapsed class shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.memorisation import (
    Rate,
    class_balance,
    class_coverage,
    nearest_training_rate,
    teacher_copy_rate,
)


def rows(seed, count, d=6):
    return np.random.default_rng(seed).standard_normal((count, d))


def test_an_honest_generator_stands_at_chance_and_a_copier_does_not():
    train, held_out = rows(0, 400), rows(1, 200)
    honest = nearest_training_rate(fake=rows(2, 4000), train=train, held_out=held_out)
    assert honest.chance == pytest.approx(2 / 3)
    assert abs(honest.excess) < 0.12  # the split itself has noise
    copier = nearest_training_rate(fake=train + 0.01, train=train, held_out=held_out)
    assert copier.rate == 1 and copier.excess == 1
    half = np.concatenate([train + 0.01, rows(3, 400)])
    found = nearest_training_rate(fake=half, train=train, held_out=held_out)
    assert found.excess == pytest.approx(0.5, abs=0.12) and found.ci95[0] > found.chance


def test_chance_is_exact_over_splits():
    """Fakes of the same law, many splits: the mean rate is the share of training rows."""
    rates = []
    for seed in range(150):
        real = rows([4, seed], 90, 2)
        rates.append(
            nearest_training_rate(fake=rows([5, seed], 60, 2), train=real[:60], held_out=real[60:]).rate
        )
    assert np.mean(rates) == pytest.approx(2 / 3, abs=4 * np.std(rates) / np.sqrt(150))


def test_rows_in_both_sets_are_ties():
    real = rows(6, 50)
    found = nearest_training_rate(fake=rows(7, 80), train=real, held_out=real)
    assert found.rate == 0.5 == found.chance


def test_a_student_that_answers_as_the_teacher_does_is_seen():
    teacher, labels = rows(8, 1200), np.arange(1200) % 3
    copy = teacher_copy_rate(student=teacher + 0.01 * rows(9, 1200), teacher=teacher, labels=labels)
    assert copy.rate > 0.99 and copy.chance == pytest.approx(1 / 400)
    honest = teacher_copy_rate(student=rows(10, 1200), teacher=teacher, labels=labels)
    assert honest.ci95[0] <= honest.chance <= honest.ci95[1]


def test_a_collapsed_teacher_is_no_evidence_of_copying():
    teacher = np.repeat(rows(11, 1), 50, axis=0)
    found = teacher_copy_rate(student=teacher, teacher=teacher)
    assert found.rate == pytest.approx(1 / 50) == found.chance and found.excess == pytest.approx(0)


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_copy_rate_does_not_depend_on_the_order_of_samples_or_on_units(seed, count, classes):
    rng = np.random.default_rng(seed)
    student, teacher = rng.standard_normal((2, count, 2))
    labels, order = np.arange(count) % classes, rng.permutation(count)
    first = teacher_copy_rate(student=student, teacher=teacher, labels=labels)
    again = teacher_copy_rate(student=7 * student[order], teacher=7 * teacher[order], labels=labels[order])
    assert again.rate == pytest.approx(first.rate) and 0 <= first.rate <= 1


def test_balance_of_a_fair_generator_and_of_one_that_drops_a_class():
    fair = class_balance(np.arange(1000) % 10, 10)
    assert fair.shares == pytest.approx(np.ones(10))
    assert fair.total_variation == pytest.approx(0) and fair.effective == pytest.approx(10)
    predicted = np.where(np.arange(1000) % 10 == 3, 8, np.arange(1000) % 10)  # a three is drawn as an eight
    dropped = class_balance(predicted, 10)
    assert dropped.smallest == (3, 0.0) and dropped.total_variation == pytest.approx(0.1)
    assert 8.5 < dropped.effective < 9
    uneven = class_balance(np.array([0, 0, 0, 1]), 2, expected=[3, 1])
    assert uneven.shares == pytest.approx([1, 1])


def test_a_class_that_collapses_to_one_image_loses_its_coverage():
    real, labels = rows(12, 600), np.arange(600) % 3
    fake = rows(13, 600)
    honest = class_coverage(real=real, real_labels=labels, fake=fake, fake_labels=labels, classes=3)
    assert honest.min() > 0.8  # 7 in 8 at equal numbers
    fake[labels == 1] = fake[1]
    collapsed = class_coverage(real=real, real_labels=labels, fake=fake, fake_labels=labels, classes=3)
    assert collapsed[1] < 0.1 and collapsed[[0, 2]] == pytest.approx(honest[[0, 2]])
    absent = labels != 1
    gone = class_coverage(
        real=real, real_labels=labels, fake=fake[absent], fake_labels=labels[absent], classes=3
    )
    assert gone[1] == 0


def test_coverage_equals_the_definition_across_blocks():
    real, fake = rows(14, 1100, 3), rows(15, 300, 3) + 1
    distances = np.linalg.norm(real[:, None] - real[None], axis=2)
    radius = np.sort(distances, axis=1)[:, 3]
    expected = (np.linalg.norm(real[:, None] - fake[None], axis=2).min(axis=1) < radius).mean()
    zeros = np.zeros(1100, int)
    found = class_coverage(real=real, real_labels=zeros, fake=fake, fake_labels=zeros[:300], classes=1)
    assert found == pytest.approx([expected])


def test_interval_of_a_rate_is_wilsons():
    assert Rate(0.0, 0.5, 10).ci95 == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert Rate(0.5, 0.5, 10).ci95 == pytest.approx((0.23659, 0.76341), abs=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="fake has 6 columns and train has 5"):
        nearest_training_rate(fake=rows(0, 4), train=rows(0, 4, 5), held_out=rows(0, 4))
    with pytest.raises(ValueError, match="student and teacher: found 4 and 5 rows"):
        teacher_copy_rate(student=rows(0, 4), teacher=rows(0, 5))
    with pytest.raises(ValueError, match="labels: expected 4 integer labels"):
        teacher_copy_rate(student=rows(0, 4), teacher=rows(0, 4), labels=[0, 1])
    with pytest.raises(ValueError, match=r"predicted: expected labels in 0\.\.1, found 0\.\.2"):
        class_balance([0, 2], 2)
    with pytest.raises(ValueError, match="expected: 2 positive shares"):
        class_balance([0, 1], 2, expected=[1, 0])
    with pytest.raises(ValueError, match="class 0: 3 real rows; expected more than k = 3"):
        class_coverage(real=rows(0, 3), real_labels=[0] * 3, fake=rows(0, 3), fake_labels=[0] * 3, classes=1)
