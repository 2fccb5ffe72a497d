"""``bench convert``: once, whole or not at all, with the terms of the weights."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from published_files import OPENAI, SONG, dump, openai_state, write_edm

import baselines.checkpoints.stored as stored
from baselines.checkpoints import load_converted
from bench.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["convert", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    write_edm(tmp_path / "edm.pkl")
    return tmp_path / "edm.pkl"


def test_a_teacher_is_written_once(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, teacher)
    assert (status, err) == (0, "")
    digest = hashlib.sha256(teacher.read_bytes()).hexdigest()
    assert "wrote" in out and digest in out and "NON-COMMERCIAL" in out and "SongUNet" in out
    target = teacher.with_suffix(".safetensors")
    record = json.loads(target.with_suffix(".json").read_text())
    assert record["source"] == {"name": "edm.pkl", "sha256": digest}
    assert record["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert record["licence"]["commercial"] is False and load_converted(target).architecture.config == SONG
    assert files(teacher.parent) == ["edm.json", "edm.pkl", "edm.safetensors"]
    before = {path: path.stat().st_mtime_ns for path in teacher.parent.iterdir()}
    status, out, err = run(capsys, teacher, "--sha256", digest.upper())
    assert status == 0 and "is up to date" in out and "nothing written" in out
    assert before == {path: path.stat().st_mtime_ns for path in teacher.parent.iterdir()}


def test_a_changed_source_or_output_is_converted_again(
    teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = teacher.with_suffix(".safetensors")
    run(capsys, teacher)
    target.write_bytes(b"damaged")
    assert "wrote" in run(capsys, teacher)[1] and load_converted(target)
    write_edm(teacher, SONG, {name: value + 1 for name, value in load_converted(target).tensors.items()})
    assert "wrote" in run(capsys, teacher)[1]
    assert load_converted(target).sha256 == hashlib.sha256(teacher.read_bytes()).hexdigest()


def test_out_and_the_role_of_an_openai_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(openai_state(), tmp_path / "mine.pt")
    status, _, err = run(capsys, tmp_path / "mine.pt")
    assert status == 1 and "state the role (--role)" in err
    out = tmp_path / "new" / "cm.safetensors"
    assert run(capsys, tmp_path / "mine.pt", "--out", out, "--role", "student")[0] == 0
    assert load_converted(out).architecture.config == OPENAI
    status, text, _ = run(capsys, tmp_path / "mine.pt", "--out", out, "--role", "teacher")
    assert status == 0 and "wrote" in text  # another role is another conversion
    form = load_converted(out).architecture.preconditioning
    assert form is not None and form.form == "edm"


class Evil:
    def __reduce__(self) -> object:
        return os.system, ("touch mark",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (dump({"ema": Evil()}), f"asks for {os.system.__module__}.system"),
        (b"<html>Sign in</html>", "is a web page, not weights"),
        (b"\x80\x04}", "cut short or damaged"),
        (dump({"ema": 3}), "holds a int under 'ema'"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content)
    status, out, err = run(capsys, tmp_path / "a.pkl")
    assert (status, out) == (1, "") and words in err and err.count("\n") == 1
    assert files(tmp_path) == ["a.pkl"]


def test_a_wrong_hash(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, teacher, "--sha256", "0" * 64)
    assert status == 1 and f"expected {'0' * 64}" in err and files(teacher.parent) == ["edm.pkl"]


def test_wrong_usage_and_missing_files(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, teacher.with_name("none.pkl"))
    assert status == 3 and "no such file" in err
    for arguments, words in {
        ("--role", "pupil"): "unknown role 'pupil'",
        ("--sha256", "abc"): "is no sha256",
        ("--out", "a.bin"): "must end in .safetensors",
    }.items():
        status, _, err = run(capsys, teacher, *arguments)
        assert status == 2 and words in err
    assert files(teacher.parent) == ["edm.pkl"]


def test_files_of_others_are_not_replaced(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = teacher.with_suffix(".safetensors")
    target.write_bytes(b"mine")
    status, _, err = run(capsys, teacher)
    assert status == 2 and "was not written by bench convert" in err and target.read_bytes() == b"mine"
    status, _, err = run(capsys, target)
    assert status == 2 and "would replace the file itself" in err


def test_a_full_disk_leaves_nothing(
    teacher: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored, "save_file", full)
    status, _, err = run(capsys, teacher)
    assert status == 1 and "cannot be written" in err and "No space left" in err
    assert files(teacher.parent) == ["edm.pkl"]
