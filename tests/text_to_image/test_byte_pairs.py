"""The vocabulary of the captions: one language, read alike by open_clip's tokenizer and by transformers'."""

from __future__ import annotations

import gzip
from pathlib import Path

import open_clip
import pytest

from baselines.datasets.byte_pairs import (
    byte_symbols,
    clip_tokenizer_files,
    learn_merges,
    open_clip_file,
    read_merges,
    vocabulary,
)
from baselines.datasets.scene_captions import OPENINGS, SAID, WHERE, captioned
from baselines.datasets.scenes import SPLITS
from baselines.teachers.shapes import CONTEXT, scene_merges
from metrics.features import shapes_clip

CAPTIONS = [captioned(split, 7, i).caption for split in SPLITS.values() for i in range(200)]
OTHERS = ["", "Hello,  World! 42 zebras' café", "a dark-red circle\nisn't here", "A RED Box"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizers")
    merges = scene_merges()
    (path / "bpe.txt.gz").write_bytes(open_clip_file(merges))
    for name, content in clip_tokenizer_files(merges, CONTEXT).items():
        (path / name).write_text(content, encoding="utf-8")
    return path


def test_both_tokenizers_give_the_same_ids(folder: Path) -> None:
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(str(folder))
    ours = open_clip.SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=CONTEXT)
    assert len(theirs) == ours.vocab_size == len(vocabulary(scene_merges()))
    for caption in [*CAPTIONS, *OTHERS]:
        ids = theirs(caption)["input_ids"]
        assert ids == [ours.sot_token_id, *ours.encode(caption), ours.eot_token_id], caption


def test_every_word_of_the_language_is_one_token_and_no_caption_is_cut(folder: Path) -> None:
    ours = open_clip.SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=CONTEXT)
    for caption in CAPTIONS:
        assert len(ours.encode(caption)) == len(caption.replace(",", " ,").split())
        assert ours.decode(ours.encode(caption)).strip() == caption.replace(",", " ,")
    words = max(len(opening.split()) for opening in OPENINGS) + len(("against", "a", "grey", "background"))
    thing = 4 + max(len(where.split()) for where in WHERE.values())  # a little red box at the top left
    assert len(SAID) and words + 3 * thing + len([",", "and"]) + 2 <= CONTEXT
    assert shapes_clip.CONTEXT == CONTEXT


def test_the_file_ends_as_open_clip_slices_it(folder: Path) -> None:
    """A newline at the end would be a merge of nothing, and move the ids of start and end by one."""
    merges = scene_merges()
    assert tuple(read_merges(folder / "bpe.txt.gz")) == merges
    text = gzip.decompress((folder / "bpe.txt.gz").read_bytes()).decode()
    assert not text.endswith("\n")
    (folder / "longer.txt.gz").write_bytes(gzip.compress((text + "\n").encode()))
    longer = open_clip.SimpleTokenizer(bpe_path=str(folder / "longer.txt.gz"))
    assert longer.vocab_size == len(vocabulary(merges)) + 1


def test_bytes_stand_in_the_order_of_clip() -> None:
    from open_clip.tokenizer import bytes_to_unicode

    assert byte_symbols() == list(bytes_to_unicode().values())


def test_merges_join_the_most_frequent_pair_first() -> None:
    """low x5, lower x2, newest x6, widest x3: the example of Sennrich et al., with an end-of-word mark."""
    merges = learn_merges(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)
    assert merges[:3] == [("e", "s"), ("es", "t</w>"), ("l", "o")]
    assert {"low</w>", "lower</w>", "newest</w>", "widest</w>"} <= {"".join(merge) for merge in merges}
    assert open_clip_file(merges) == open_clip_file(list(merges))  # no time stamp inside
