"""Batches of captioned pictures as methods see them: latents with conditions, fixed by seed and iteration."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_miniature import NAME
from PIL import Image
from tiny_pipeline import CAPTIONS, CONTEXT, SIDE, WIDTH

from baselines.datasets.captioned_files import CaptionedPictures
from baselines.datasets.images import to_model
from baselines.diffusion.guidance import FixedStrength, UniformStrength
from baselines.streams import numpy_generator, torch_generator
from baselines.teachers.captioned import SOURCES, Captioned, CaptionedLatents
from baselines.teachers.stable_diffusion import TextTeacher
from bench.ahead import PicturesAhead
from bench.suite import load_suite
from bench.text_models import text_model


class Pictures:
    """Noise with captions; counts how often pictures are asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def batch(self, seed: int, iteration: int, size: int) -> Captioned:
        self.asked += 1
        rng = numpy_generator(seed, "data", iteration)
        images = rng.integers(0, 256, (size, 3, 2 * SIDE, 2 * SIDE), dtype=np.uint8)
        return Captioned(images, self.captions(seed, iteration, size))

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        return [CAPTIONS[(iteration + i) % len(CAPTIONS)] for i in range(size)]


@pytest.fixture
def latents(teacher: TextTeacher) -> CaptionedLatents:
    return CaptionedLatents(teacher, Pictures(), UniformStrength(2.0, 8.0))


def test_batches_are_latents_with_captions_and_strengths(latents: CaptionedLatents) -> None:
    x0, cond = latents.draw(3, 5, 4)
    images, captions = Pictures().batch(3, 5, 4)
    assert images is not None
    noise = torch.randn(4, 4, SIDE, SIDE, generator=torch_generator(3, "data", 5))
    assert torch.equal(x0, latents.model.latents.encode(to_model(images), noise))
    assert torch.equal(cond.text, latents.model.text(captions).text) and cond.text.shape == (
        4,
        CONTEXT,
        WIDTH,
    )
    assert cond.w is not None and cond.w.unique().numel() == 4 and 2 <= cond.w.min() <= cond.w.max() <= 8


def test_a_batch_is_the_same_again_and_another_one_is_not(latents: CaptionedLatents) -> None:
    first, again, other = (latents.draw(0, i, 4) for i in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1].w, again[1].w)
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1].w, other[1].w)


def test_data_free_methods_get_the_same_conditions_and_no_pictures(latents: CaptionedLatents) -> None:
    empty, cond = latents.draw_conditions(0, 1, 4)
    assert latents.source.asked == 0 and empty.shape == (4, 0)
    expected = latents.draw(0, 1, 4)[1]
    assert torch.equal(cond.text, expected.text) and torch.equal(cond.w, expected.w)


def test_the_drawn_world_is_a_source() -> None:
    images, captions = SOURCES["shapes"].batch(3, 2, 4)
    assert images is not None and images.shape == (4, 3, 32, 32) and images.dtype == np.uint8
    assert SOURCES["shapes"].captions(3, 2, 4) == captions and len(set(captions)) > 1
    assert SOURCES["shapes"].captions(4, 2, 4) != captions


def test_a_fixed_strength_is_not_told(teacher: TextTeacher) -> None:
    assert CaptionedLatents(teacher, Pictures(), FixedStrength(4.0)).draw(0, 0, 2)[1].w is None
    assert teacher.condition(CAPTIONS[:2], 3.0).w.tolist() == [3.0, 3.0]


# ---------------------------------------------------------------------- pictures in files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of 20 x 30 pixels with captions."""
    rng = np.random.default_rng(0)
    for name in range(5):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    lines = [json.dumps({"file_name": f"{n}.png", "text": CAPTIONS[n]}) for n in range(5)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path


class Noted:
    """Pictures that note which batch was read by which thread."""

    def __init__(self, source: CaptionedPictures) -> None:
        self.source, self.read = source, threading.Semaphore(0)
        self.readers: dict[tuple[int, int], int] = {}

    def batch(self, seed: int, iteration: int, size: int) -> tuple[np.ndarray, Sequence[str]]:
        self.readers[seed, iteration] = threading.get_ident()
        self.read.release()
        return self.source.batch(seed, iteration, size)

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        return self.source.captions(seed, iteration, size)


def test_pictures_are_read_ahead_and_are_the_same(folder: Path) -> None:
    source = CaptionedPictures.open(folder, 16)
    noted = Noted(source)
    ahead, here = PicturesAhead(noted), threading.get_ident()
    for seed, iteration in ((0, 0), (0, 1), (0, 2), (1, 2), (0, 3)):
        (images, texts), (expected, said) = (x.batch(seed, iteration, 2) for x in (ahead, source))
        assert np.array_equal(images, expected) and list(texts) == list(said)
    for _ in range(7):  # five that were asked for, and two that were read for nothing as the seed changed
        assert noted.read.acquire(timeout=30)
    by = {asked: reader == here for asked, reader in noted.readers.items()}
    assert by[0, 0] and by[1, 2] and not by[0, 1] and not by[0, 2] and not by[1, 3]
    assert ahead.captions(0, 1, 2) == source.captions(0, 1, 2)


@pytest.mark.usefixtures("cache", "one_thread")
def test_suites_with_pictures_read_them_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, readers, read = load_suite(NAME).pipeline, list[int](), threading.Semaphore(0)
    assert pipeline is not None
    picture = CaptionedPictures.picture

    def noted(self: CaptionedPictures, row: int) -> np.ndarray:
        readers.append(threading.get_ident())
        read.release()
        return picture(self, row)

    monkeypatch.setattr(CaptionedPictures, "picture", noted)
    text_model(pipeline).draw(0, 0, 1)
    assert all(read.acquire(timeout=30) for _ in range(2)) and len(set(readers)) == 2


def test_pictures_too_large_are_refused_and_filters_of_warnings_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters are those of all threads: one that reads ahead must not change them under another."""
    source, said, before = CaptionedPictures.open(folder, 16), "", warnings.filters[:]
    seen: list[bool] = []
    monkeypatch.setattr(Image, "open", lambda *given, open=Image.open, **named: (
        seen.append(warnings.filters[:] == before) or open(*given, **named)
    ))  # fmt: skip
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 30)
    assert source.picture(0).shape == (3, 16, 16) and seen == [True]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 30 - 1)
    with monkeypatch.context() as patch:
        patch.setattr(warnings, "warn", lambda *_, **__: None)  # as under Python's own filters
        try:
            source.picture(0)
        except ValueError as error:
            said = str(error)
    assert said.endswith("0.png: not a whole image file (30 x 20 pixels, at most 599); make it again")
