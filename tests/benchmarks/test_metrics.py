"""Metrics beside the libraries they stand for, same inputs and weights: ``make bench`` prints the ratios.

Times are those of the process, so that other work on the machine weighs less; nothing asserts on seconds.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_inception import photos, theirs, write_random_inception

from metrics.features.registry import load_extractor
from metrics.frechet import frechet_distance
from metrics.moments import Moments


def cpu_seconds(call: Callable[[], Any], rounds: int) -> float:
    """Least processor time of a call over rounds."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def spectrum(seed: int, dimension: int = 2048) -> Moments:
    """Moments of features whose variances span four decades."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimension, dimension)) / dimension**0.5
    features = (rng.standard_normal((2600, dimension)) * np.geomspace(1, 1e-2, dimension)) @ mixing
    return Moments.of(features)


def test_frechet_distance(benchmark) -> None:
    """Aim: 8 times clean-fid and 3 times torch-fidelity."""
    from cleanfid.fid import frechet_distance as clean_fid
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    a, b = spectrum(0), spectrum(1)
    ours = cpu_seconds(lambda: frechet_distance(a, b), 2)
    statistics = [{"mu": x.mean, "sigma": x.cov} for x in (a, b)]
    fidelity = cpu_seconds(lambda: fid_statistics_to_metric(*statistics, verbose=False), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean = cpu_seconds(lambda: clean_fid(a.mean, a.cov, b.mean, b.cov), 1)
    benchmark.extra_info.update(
        {"times torch-fidelity": round(fidelity / ours, 2), "times clean-fid": round(clean / ours, 2)}
    )
    print(f"\nFrechet, d=2048: {fidelity / ours:.2f}x torch-fidelity, {clean / ours:.2f}x clean-fid")
    benchmark.pedantic(lambda: frechet_distance(a, b), rounds=1)


def test_inception_features(benchmark, tmp_path: Path) -> None:
    """Aim: 2 times torch-fidelity's images per second, on the CPU."""
    weights = tmp_path / "weights.pth"
    write_random_inception(weights)
    ours = load_extractor(
        "inception-torch-fidelity", weights, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()
    )
    reference, images = theirs(weights, ["2048"]), photos(32, 0)
    ours(images[:8]), reference(images[:8])
    times = [
        (cpu_seconds(lambda: reference(images), 1), cpu_seconds(lambda: ours(images), 1)) for _ in range(2)
    ]
    fidelity, own = (min(column) for column in zip(*times, strict=True))
    difference = float((ours(images[:8]) - reference(images[:8])[0]).abs().max())
    benchmark.extra_info.update({"times torch-fidelity": round(fidelity / own, 2), "difference": difference})
    print(
        f"\nInception: {32 / own:.1f} images/s, {fidelity / own:.2f}x torch-fidelity, off by {difference:.1e}"
    )
    benchmark.pedantic(lambda: ours(images[:8]), rounds=1)


@pytest.mark.parametrize("rows", [64, 500])
def test_streaming_moments(benchmark, rows: int) -> None:
    """A batch of 2048 features into running moments: the part of FID that every image pays."""
    from metrics.moments import RunningMoments

    batch = torch.randn(rows, 2048, generator=torch.Generator().manual_seed(0))
    running = RunningMoments().update(batch)
    benchmark.pedantic(lambda: running.update(batch), rounds=3)
