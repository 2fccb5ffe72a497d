"""Images and weights of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from miniature import CONFIGS, weights, without_digests, write_extractor
from PIL import Image
from published_files import write_edm

from baselines.streams import numpy_generator
from bench.assets.registry import find
from bench.suite import load_suite


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder of images, a teacher, and a cache with the feature network."""
    for name in ("BENCH_MIRROR", "BENCH_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    without_digests(load_suite("cifar10"), monkeypatch)
    extractor = find("inception/nvidia-torchscript")
    place = tmp_path / "cache" / "files" / extractor.id / extractor.file
    place.parent.mkdir(parents=True)
    write_extractor(place)
    images, rng = tmp_path / "my images", numpy_generator(3, "data")
    images.mkdir()
    for number in range(9):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(images / f"{number}.png")
    write_edm(tmp_path / "teacher.pkl", CONFIGS["cifar10"], weights(CONFIGS["cifar10"], 0))
    return images, tmp_path / "teacher.pkl"
