"""Pipeline folders that the tests of this folder share; they are written once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from coco_miniature import NAME, XL_NAME, without_digests, write_cache
from tiny_pipeline import write_pipeline, write_xl_pipeline

from baselines.teachers.stable_diffusion import StrengthInput, TextTeacher, open_text_teacher
from bench.prompt_evaluation import judges
from bench.suite import load_suite
from bench.text_models import _source, open_text
from bench.training_data import _kept


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An epsilon-predicting pipeline."""
    return write_pipeline(tmp_path_factory.mktemp("pipelines") / "epsilon")


@pytest.fixture(scope="session")
def teacher(pipeline: Path) -> TextTeacher:
    """It, opened; students take the guidance strength as an input."""
    return open_text_teacher(pipeline, form=StrengthInput(32))


@pytest.fixture(scope="session")
def xl_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of SDXL's kind."""
    return write_xl_pipeline(tmp_path_factory.mktemp("pipelines") / "xl")


@pytest.fixture(scope="session")
def xl(xl_pipeline: Path) -> TextTeacher:
    """It, opened."""
    return open_text_teacher(xl_pipeline)


@pytest.fixture
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache for published files, and nothing that an earlier test opened."""
    for name in ("BENCH_MIRROR", "BENCH_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for cached in (judges, open_text, _source, _kept):
        cached.cache_clear()


def written(name: str, folder: Path) -> Path:
    """A cache with all files of a suite, small ones."""
    with pytest.MonkeyPatch.context() as patch:
        without_digests(load_suite(name), patch)
        write_cache(folder / "cache", load_suite(name))
    return folder / "cache"


@pytest.fixture(scope="session")
def coco_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of ``coco2014-30k``."""
    return written(NAME, tmp_path_factory.mktemp("coco"))


@pytest.fixture(scope="session")
def xl_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of ``sdxl-coco10k``."""
    return written(XL_NAME, tmp_path_factory.mktemp("sdxl"))


@pytest.fixture
def cache(no_files: None, coco_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``coco2014-30k``'s in use."""
    shutil.copytree(coco_files, tmp_path / "cache")
    without_digests(load_suite(NAME), monkeypatch)
    return tmp_path / "cache"


@pytest.fixture
def xl_cache(no_files: None, xl_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``sdxl-coco10k``'s in use."""
    shutil.copytree(xl_files, tmp_path / "cache")
    without_digests(load_suite(XL_NAME), monkeypatch)
    return tmp_path / "cache"
