"""Metrics beside the libraries they stand for, same inputs and weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from random_inception import photos, theirs, write_random_inception
from timing import Beside, Took, processor_seconds

from baselines.datasets.captioned_scenes import CaptionedScenes
from baselines.datasets.scenes import HELD_OUT
from baselines.diffusion.samplers import SOLVERS
from baselines.generators import ODESolver
from bench.lab import Lab
from bench.sampling import draw_samples
from bench.suite import load_suite
from metrics.clip_score import clip_score
from metrics.features.registry import load_extractor
from metrics.features.shapes_clip import load_shapes_clip
from metrics.features.stream import stream_moments
from metrics.frechet import frechet_distance
from metrics.moments import Moments, RunningMoments

PART = "Features and Frechet distances"


def spectrum(seed: int, dimension: int = 2048) -> Moments:
    """Moments of features whose variances span four decades."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimension, dimension)) / dimension**0.5
    features = (rng.standard_normal((2600, dimension)) * np.geomspace(1, 1e-2, dimension)) @ mixing
    return Moments.of(features)


def test_frechet_distance(beside: Beside) -> None:
    from cleanfid.fid import frechet_distance as clean_fid
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    a, b = spectrum(0), spectrum(1)
    statistics = [{"mu": x.mean, "sigma": x.cov} for x in (a, b)]

    def clean() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clean_fid(a.mean, a.cov, b.mean, b.cov)

    beside(
        PART,
        "Frechet distance, 2,048 features",
        lambda: frechet_distance(a, b),
        {"torch-fidelity": lambda: fid_statistics_to_metric(*statistics, verbose=False), "clean-fid": clean},
        aims={"torch-fidelity": 0.33, "clean-fid": 0.125},
        rounds=1,
        warm=0,
    )


def test_inception_features(beside: Beside, benchmark, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    write_random_inception(weights)
    ours = load_extractor(
        "inception-torch-fidelity", weights, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()
    )
    reference, images = theirs(weights, ["2048"]), photos(16, 0)
    beside(
        PART,
        f"Inception features, {len(images)} images",
        lambda: ours(images),
        {"torch-fidelity": lambda: reference(images)},
        aims={"torch-fidelity": 0.5},
        rounds=2,
    )
    benchmark.extra_info["difference"] = float((ours(images[:2]) - reference(images[:2])[0]).abs().max())


@pytest.mark.parametrize("rows", [64, 500])
def test_streaming_moments(beside: Beside, rows: int) -> None:
    """A batch of features into running moments: the part of FID that every image pays."""
    batch = torch.randn(rows, 2048, generator=torch.Generator().manual_seed(0))
    running, wide = RunningMoments().update(batch), batch.double()
    product = {"the product of features, fp64": lambda: wide.T @ wide}
    what = f"{rows} rows of 2,048 features into running moments"
    beside(PART, what, lambda: running.update(batch), product, rounds=3)


class Stopwatch:
    """A callable with the processor seconds spent in it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.seconds = call, 0.0

    def __call__(self, *args: Any) -> Any:
        start = processor_seconds()
        result = self.call(*args)
        self.seconds += processor_seconds() - start
        return result

    def taken(self) -> float:
        """The seconds so far; counts from 0 again."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def test_generate_and_measure(beside: Beside, tmp_path: Path, monkeypatch) -> None:
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

    def forwards() -> Took:
        return Took(denoise.taken() + see.taken())  # of the turn before

    beside(
        PART,
        "64 digits by the teacher at 35 evaluations, and their Inception features",
        lambda: generate_and_measure(1),
        {"the forwards of both networks": forwards},
        aims={"the forwards of both networks": 1.05},
        rounds=1,
    )


def test_clip_score(beside: Beside) -> None:
    """With open_clip's transform and tokenizer, which the two forwards are spared: their inputs are ready."""
    clip = load_shapes_clip(None, None, "cpu")
    scenes = CaptionedScenes(HELD_OUT, 7).rows(0, 256)
    images, captions = torch.from_numpy(scenes.images), [one.caption for one in scenes.shown]
    pictures = [Image.fromarray(image) for image in scenes.images.transpose(0, 2, 3, 1)]
    pixels, tokens = torch.stack([clip.transform(one) for one in pictures]), clip.tokenizer(captions)

    def forwards() -> None:
        with torch.inference_mode():
            clip.network.encode_image(pixels)
            clip.network.encode_text(tokens)

    beside(
        PART,
        f"CLIP score of {len(captions)} pictures of shapes and their captions",
        lambda: clip_score(clip, [images], captions),
        {"the forwards of both towers": forwards},
        aims={"the forwards of both towers": 1.05},
    )
