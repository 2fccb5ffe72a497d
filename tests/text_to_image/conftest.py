"""Pipeline folders that the tests of this folder share; they are written once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tiny_pipeline import write_pipeline

from baselines.teachers.stable_diffusion import StrengthInput, TextTeacher, open_text_teacher


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An epsilon-predicting pipeline."""
    return write_pipeline(tmp_path_factory.mktemp("pipelines") / "epsilon")


@pytest.fixture(scope="session")
def teacher(pipeline: Path) -> TextTeacher:
    """It, opened; students take the guidance strength as an input."""
    return open_text_teacher(pipeline, form=StrengthInput(32))
