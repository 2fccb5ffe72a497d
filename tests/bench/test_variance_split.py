"""The components of a simulated design come back, and one table is worked by hand."""

import numpy as np
import pytest

from bench.report.variance import split_variance


def test_by_hand():
    """Rows 1, 3 and columns 0, 2 with no rest: variance of row means 2, of column means 2."""
    found = split_variance([[[0.0], [2.0]], [[2.0], [4.0]]])
    assert (found.training, found.sampling, found.rest, found.subset) == (2.0, 2.0, 0.0, None)
    assert found.parts == {"training": 2**0.5, "sampling": 2**0.5, "rest": 0.0}


def test_components_of_a_simulated_design_come_back():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        parts = [
            rng.normal(0, sd, shape)
            for sd, shape in ((3, (4, 1, 1)), (2, (1, 5, 1)), (1, (4, 5, 1)), (0.5, (4, 5, 3)))
        ]
        found.append(split_variance(sum(parts).tolist()))
    means = [
        np.mean([getattr(f, name) for f in found]) for name in ("training", "sampling", "rest", "subset")
    ]
    assert means == pytest.approx([9, 4, 1, 0.25], rel=0.2)


def test_a_source_that_was_not_varied_is_unknown():
    one_seed = split_variance([[[1.0], [2.0], [3.0]]])
    assert (one_seed.training, one_seed.sampling, one_seed.rest) == (None, 1.0, None)
    one_block = split_variance([[[1.0]], [[3.0]]])
    assert (one_block.training, one_block.sampling) == (2.0, None)
    assert split_variance([[[1.0]]]).parts == {}
    subsets = split_variance([[[1.0, 3.0]]])
    assert (subsets.training, subsets.sampling, subsets.subset) == (None, None, 2.0)


def test_pure_noise_gives_no_negative_variance():
    for seed in range(20):
        found = split_variance(np.random.default_rng(seed).normal(0, 1, (3, 3, 2)).tolist())
        assert min(found.training, found.sampling, found.rest, found.subset) >= 0


@pytest.mark.parametrize("bad", [[], [[]], [[[]]], [[[1.0], [2.0]], [[1.0]]], [[[1.0], [2.0, 3.0]]]])
def test_ragged_or_empty_values_are_refused(bad):
    with pytest.raises(ValueError, match=r"expected values \[seeds\]\[blocks\]\[subsets\]"):
        split_variance(bad)
