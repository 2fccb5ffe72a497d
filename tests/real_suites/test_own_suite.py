"""A suite from a folder of images and a weight file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench.cli import main
from bench.errors import AssetError, UsageError
from bench.own_suite import write_suite
from bench.record import read_record
from bench.suite import load_suite

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_suite_of_ones_own_runs(own: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_suite("mine", *own, tmp_path)
    suite = load_suite(str(path))
    assert suite.model is not None and suite.model.shape == (3, 32, 32) and suite.model.classes == 0
    assert set(suite.methods) == set(load_suite("cifar10").methods)
    small = path.read_text() + "\n[smoke]\nwork = 60\nsamples = 8\nbatch = 2\n"
    path.write_text(small)
    words = ["--smoke", "--offline", "--nfe", "1", "--method", "lcm", "--no-references"]
    assert main(["run", "--suite", str(path), *words, "--out", str(tmp_path / "runs")]) == 0
    (record,) = (read_record(file) for file in (tmp_path / "runs").glob("*/*/record.json"))
    assert record.suite == "mine" and record.rows[0].metrics["fid"].mean > 0
    (kept,) = (tmp_path / "cache" / "references").glob("*.npz")  # computed once
    before = kept.stat().st_mtime_ns
    assert main(["run", "--suite", str(path), *words, "--seeds", "2", "--out", str(tmp_path / "runs")]) == 0
    assert kept.stat().st_mtime_ns == before
    assert len(list((tmp_path / "cache" / "references").glob("*.npz"))) == 1


def test_what_does_not_fit_is_refused(own: tuple[Path, Path], tmp_path: Path) -> None:
    images, teacher = own
    write_suite("mine", images, teacher, tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        write_suite("mine", images, teacher, tmp_path)
    with pytest.raises(AssetError, match="no such weight file"):
        write_suite("other", images, tmp_path / "none.pkl", tmp_path)
    Image.new("RGB", (16, 16)).save(images / "0.png")
    with pytest.raises(AssetError, match="found 16 x 16 RGB, expected 32 x 32 RGB"):
        write_suite("other", images, teacher, tmp_path)
    assert not (tmp_path / "other.toml").exists()


def test_the_verb_says_what_is_missing_and_what_comes_next(
    own: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, teacher = map(str, own)
    files = ["--images", images, "--teacher", teacher]
    wrong = [
        (["suite", "mine", *files[:2]], "expected --images DIR and --teacher FILE"),
        (["suite", "../mine", *files], "suite '../mine': expected small letters"),
        (["method", "mine", *files], "--images and --teacher make a suite"),
        (["sweet", "mine"], "unknown kind of package 'sweet'"),
    ]
    for words, expected in wrong:
        assert main(["new", *words, "--out", str(tmp_path)]) == 2
        assert expected in capsys.readouterr().err
    assert main(["new", "suite", "mine", *files, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"next: bench plan --suite {tmp_path / 'mine.toml'}"
