"""Captions: equal to the library's own, encoded once and alike in any company, counted where they are cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_pipeline import CAPTIONS, CONTEXT, WIDTH
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.teachers.pipeline_folder import PipelineFolder
from baselines.teachers.stable_diffusion import TextTeacher, load_text_encoder
from baselines.teachers.text_encoder import CHUNK

LONG = "a long tale of discs and bars"


class Counted(nn.Module):
    """A text model that counts its calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls, self.captions = inner, 0, 0

    def forward(self, ids: Tensor) -> Cond:
        self.calls += 1
        self.captions += len(ids)
        return self.inner(ids)  # type: ignore[no-any-return]


def fresh(pipeline: Path, folder: Path | None = None):  # type: ignore[no-untyped-def]
    found = load_text_encoder(PipelineFolder.open(pipeline), folder, "cpu")
    found.model = Counted(found.model)
    return found


def test_encodings_are_those_of_the_pipeline(pipeline: Path) -> None:
    from diffusers import StableDiffusionPipeline

    original = StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None)
    text = fresh(pipeline)
    captions = [*CAPTIONS[:3], LONG]
    theirs, empty = original.encode_prompt(captions, "cpu", 1, True, negative_prompt=[""] * 4)
    torch.testing.assert_close(text(captions).text, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(text.empty.text[0], empty[0], rtol=1e-5, atol=1e-6)
    ids = original.tokenizer(LONG, truncation=True, max_length=CONTEXT)["input_ids"]
    assert text.tokens(LONG) == ([ids], True) and text.empty.text.abs().sum() > 0


def test_an_encoding_does_not_depend_on_its_company(pipeline: Path) -> None:
    alone = torch.cat([fresh(pipeline)([caption]).text for caption in CAPTIONS])
    assert torch.equal(fresh(pipeline)(list(CAPTIONS)).text, alone)
    many = [f"{caption} {letter}" for letter in "abc" for caption in CAPTIONS]
    assert len(many) > CHUNK
    assert torch.equal(fresh(pipeline)(many).text[-1], fresh(pipeline)(many[-1:]).text[0])


def test_each_caption_is_encoded_once(pipeline: Path, tmp_path: Path) -> None:
    text = fresh(pipeline, tmp_path)
    first = text([*CAPTIONS, *CAPTIONS, LONG]).text
    calls = text.model.calls
    assert first.shape == (2 * len(CAPTIONS) + 1, CONTEXT, WIDTH) and torch.equal(first[0], first[8])
    assert torch.equal(text(CAPTIONS[:2]).text, first[:2]) and text.model.calls == calls == 1
    other = fresh(pipeline, tmp_path)  # another process: from the files
    assert torch.equal(other([*CAPTIONS, LONG]).text, first[8:]) and other.model.calls == 0
    assert other.cut == text.cut == {c for c in (*CAPTIONS, LONG) if text.tokens(c).cut} and LONG in text.cut
    assert text.report == f"{len(text.cut)} captions were cut to {CONTEXT} tokens"
    assert not list(tmp_path.glob(".*"))


def test_files_of_another_encoder_are_not_taken(pipeline: Path, tmp_path: Path) -> None:
    text = fresh(pipeline, tmp_path)
    text(["a disc"])
    text.latest.clear()
    text.sha256 = "0" * 64
    text(["a disc"])
    assert text.model.calls == 2 and len(list(tmp_path.iterdir())) == 2


def test_memory_is_bounded(pipeline: Path) -> None:
    text = fresh(pipeline)
    text.memory = 3
    text(list(CAPTIONS))
    assert list(text.latest) == list(CAPTIONS[-3:])
    text([CAPTIONS[-3]])
    text(["a new disc"])
    assert list(text.latest) == [CAPTIONS[-1], CAPTIONS[-3], "a new disc"]


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_an_empty_caption_is_refused(teacher: TextTeacher, blank: str) -> None:
    with pytest.raises(ValueError, match="caption 1 of 3 is empty; expected words"):
        teacher.text(["a disc", blank, "bars"])


def test_captions_are_encoded_in_whole_chunks(pipeline: Path) -> None:
    text = fresh(pipeline)
    before = text.model.captions
    text(CAPTIONS[:2])
    assert text.model.captions == before + CHUNK
    text.in_one_pass(CAPTIONS[:2])  # as a user waits for it
    assert text.model.captions == before + CHUNK + 2
