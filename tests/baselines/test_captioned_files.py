"""Captions and captioned pictures in files: what is read, in which order, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.datasets.captioned_files import CaptionedPictures, CaptionList

TEXTS = ["a cat", "two dogs", "rain over a town", "é"]


def write_pictures(folder: Path) -> Path:
    """Pictures of several sizes and modes; the middle of the first is white, the rest black."""
    first = np.zeros((6, 12, 3), np.uint8)
    first[:, 3:9] = 255
    Image.fromarray(first).save(folder / "0.png")
    Image.new("L", (9, 5), 77).save(folder / "1.jpg")
    lines = [json.dumps({"file_name": f"{n}", "text": text}) for n, text in (("0.png", "a"), ("1.jpg", "b"))]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("name", ["captions.txt", "captions.pkl"])
def test_captions_come_in_reshuffled_epochs(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(TEXTS) if path.suffix == ".pkl" else "\n".join(TEXTS).encode())
    found = CaptionList.open(path)
    first = [text for number in range(2) for text in found.captions(0, number, 2)]
    assert sorted(first) == sorted(TEXTS) and found.batch(0, 0, 2) == (None, first[:2])
    assert [*found.captions(0, 0, 4)] == first, "batches do not matter"
    orders = {tuple(found.captions(seed, 0, 4)) for seed in range(8)}
    assert len(orders) > 1, "seeds do"


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "bad.pkl").write_bytes(pickle.dumps([Payload()]))
    with pytest.raises(ValueError, match=r"bad\.pkl: not a pickled list .*mkdir.* nothing was run"):
        CaptionList.open(tmp_path / "bad.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"one\n\ntwo\n", "caption 2 of 3 is empty; expected words"),
        ("a.txt", b"", "no captions; expected one a line"),
        ("a.txt", b"\xff\xfe\xfa", "expected UTF-8, one caption a line"),
        ("a.pkl", pickle.dumps({"a": 1}), "holds dict, expected a list of captions"),
        ("a.pkl", pickle.dumps(["a", 1]), "holds list, expected a list of captions"),
        ("a.pkl", b"no pickle", "not a pickled list of captions"),
    ],
)
def test_what_is_no_list_of_captions_is_refused(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        CaptionList.open(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_pictures_are_the_centre_square_in_the_size_of_the_network(tmp_path: Path) -> None:
    found = CaptionedPictures.open(write_pictures(tmp_path), 8)
    assert (found.picture(0) == 255).all() and found.picture(0).shape == (3, 8, 8)
    grey = found.picture(1)
    assert grey.dtype == np.uint8 and np.array_equal(grey[0], grey[2]), "grey JPEGs become RGB"
    images, texts = found.batch(3, 0, 4)
    assert images.shape == (4, 3, 8, 8) and [*texts] == [*found.captions(3, 0, 4)]
    assert all((image == 255).all() == (text == "a") for image, text in zip(images, texts, strict=True))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", r"line 3: found '\{', expected"),
        ('{"file_name": "0.png"}', "line 3: found"),
        ('{"file_name": "0.png", "text": " "}', "line 3: found"),
        ('{"file_name": 5, "text": "a"}', "line 3: found"),
        ('["0.png", "a"]', "line 3: found"),
        ('{"file_name": "../0.png", "text": "a"}', r"line 3: '\.\./0\.png' leads out of the folder"),
    ],
)
def test_lines_of_an_index_that_say_nothing_are_refused(line: str, words: str, tmp_path: Path) -> None:
    index = write_pictures(tmp_path) / "metadata.jsonl"
    index.write_text(index.read_text() + line + "\n")
    with pytest.raises(ValueError, match=words):
        CaptionedPictures.open(tmp_path, 8)


def test_folders_and_pictures_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metadata\.jsonl: cannot be read"):
        CaptionedPictures.open(tmp_path, 8)
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="no pictures; expected a line for each"):
        CaptionedPictures.open(tmp_path, 8)
    found = CaptionedPictures.open(write_pictures(tmp_path), 8)
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"0\.png: not a whole image file"):
        found.picture(0)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(ValueError, match=r"1\.jpg: not a whole image file"):
        found.picture(1)
