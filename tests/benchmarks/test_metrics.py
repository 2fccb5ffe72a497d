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

from baselines.diffusion.samplers import SOLVERS
from baselines.generators import ODESolver
from bench.lab import Lab
from bench.sampling import draw_samples
from bench.suite import load_suite
from metrics.features.registry import load_extractor
from metrics.features.stream import stream_moments
from metrics.frechet import frechet_distance
from metrics.moments import Moments, RunningMoments


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


def test_frechet_distance(benchmark, show) -> None:
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
    show(f"Frechet, d=2048: {fidelity / ours:.2f}x torch-fidelity, {clean / ours:.2f}x clean-fid")
    benchmark.pedantic(lambda: frechet_distance(a, b), rounds=1)


def test_inception_features(benchmark, show, tmp_path: Path) -> None:
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
    show(f"Inception: {32 / own:.1f} images/s, {fidelity / own:.2f}x torch-fidelity, off by {difference:.1e}")
    benchmark.pedantic(lambda: ours(images[:8]), rounds=1)


@pytest.mark.parametrize("rows", [64, 500])
def test_streaming_moments(benchmark, rows: int) -> None:
    """A batch of 2048 features into running moments: the part of FID that every image pays."""
    batch = torch.randn(rows, 2048, generator=torch.Generator().manual_seed(0))
    running = RunningMoments().update(batch)
    benchmark.pedantic(lambda: running.update(batch), rounds=3)


class Stopwatch:
    """A callable with the processor seconds spent in it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.seconds = call, 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.process_time()
        result = self.call(*args)
        self.seconds += time.process_time() - start
        return result


def test_generate_and_measure(benchmark, show, tmp_path: Path, monkeypatch) -> None:
    """Aim: 5 % over the forwards of generator and extractor. Digits at 35 evaluations, Inception."""
    weights = tmp_path / "weights.pth"
    write_random_inception(weights)
    extractor = load_extractor(
        "inception-torch-fidelity", weights, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()
    )
    lab = Lab.open(load_suite("digits"))
    denoise, see = Stopwatch(lab.net), Stopwatch(extractor.network.features)
    monkeypatch.setattr(extractor.network, "features", see)
    generator = ODESolver(denoise, lab.space.grid, "heun", SOLVERS["heun"])

    def generate_and_measure(seed: int) -> RunningMoments:
        x = draw_samples(
            generator,
            lab.inputs,
            seed=seed,
            count=64,
            steps=35,
            batch=64,
            device=lab.device,
        )
        pixels = torch.from_numpy(lab.evaluator.pixels(x)).expand(-1, 3, -1, -1)
        return stream_moments(extractor, pixels.split(32))

    generate_and_measure(0)
    denoise.seconds = see.seconds = 0.0
    start = time.process_time()
    generate_and_measure(1)
    total, forwards = time.process_time() - start, denoise.seconds + see.seconds
    benchmark.extra_info["over the forwards"] = round(total / forwards - 1, 4)
    show(f"Generate and measure: {100 * (total / forwards - 1):.1f} % over the forwards ({forwards:.1f} s)")
    benchmark.pedantic(lambda: generate_and_measure(2), rounds=1)
