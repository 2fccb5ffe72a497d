"""Bad input: one clear sentence, the right exit status, nothing written half."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from filelock import FileLock
from tiny import tiny_suite

from bench.atomic import write_atomic
from bench.cli import main
from bench.errors import BenchError
from bench.store import Store


def error(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status and the one line on stderr."""
    status = main(list(words))
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    assert "Traceback" not in lines[0]
    return status, lines[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--suite", "digit"], "unknown suite 'digit'; did you mean 'digits'?"),
        (["--suite", "gmm2d", "--method", "sdi"], "unknown method 'sdi'; did you mean 'sid'?"),
        (
            ["--suite", "gmm2d", "--method", "sid[alhpa=1]"],
            "unknown option of sid 'alhpa'; did you mean 'alpha'?",
        ),
        (["--suite", "gmm2d", "--method", "sid[alpha=much]"], "option 'alpha': found 'much'"),
        (["--suite", "gmm2d", "--method", "sid[lr=-1]"], "option 'lr': found -1"),
        (["--suite", "gmm2d", "--method", "sid[alpha"], "expected name or name[option=value"),
        (["--suite", "gmm2d", "--method", "sid[alpha]"], "is not of the form option=value"),
        (["--suite", "gmm2d", "--method", "sid[alpha=1,alpha=2]"], "option 'alpha' is set twice"),
        (["--suite", "gmm2d", "--budget", "quik"], "unknown budget 'quik'; did you mean 'quick'?"),
        (["--suite", "gmm2d", "--method", "sid", "--nfe", "4"], "sid does not serve 4 steps; it serves 1"),
        (
            ["--suite", "gmm2d", "--method", "pd", "--nfe", "3"],
            "does not serve 3 steps; it serves 1, 2, 4, 8",
        ),
        (["--suite", "gmm2d", "--nfe", "1,x"], "--nfe: found '1,x', expected positive integers"),
        (["--suite", "gmm2d", "--nfe", "0"], "--nfe: found '0', expected positive integers"),
        (["--suite", "gmm2d", "--plugin", "nowhere.py"], "--plugin nowhere.py: no such file"),
        (["--suite", "gmm2d", "--method", "sid", "--device", "cuda:99"], "--device cuda:99: not usable here"),
        (["--suite", "nowhere.toml"], "nowhere.toml: cannot read the suite file"),
    ],
)
def test_run_refuses(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = error(capsys, "run", *words, "--out", str(tmp_path / "runs"))
    assert status == 2
    assert expected in line
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("samples = 200", "samples = -1", "key 'protocol.samples': found -1"),
        ("samples = 200", "sampels = 200", "unknown key 'sampels'; did you mean 'samples'?"),
        ('primary = "swd"', 'primary = "swt"', "unknown metric 'swt'; did you mean 'swd'?"),
        ('teacher = "gmm2d"', 'teacher = "gmm3d"', "unknown teacher 'gmm3d'; did you mean 'gmm2d'?"),
        ('evaluator = "points"', 'evaluator = "pixels"', "key 'protocol.evaluator': found 'pixels'"),
        ("[protocol]", "[protocol", "not valid TOML"),
    ],
)
def test_broken_suite_file(
    old: str, new: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_suite(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    status, line = error(
        capsys, "run", "--suite", str(path), "--method", "sid", "--out", str(tmp_path / "runs")
    )
    assert status == 2
    assert expected in line and ("tiny.toml" in line or "suite" in line)


def test_plugin_that_breaks_or_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, empty = tmp_path / "broken.py", tmp_path / "empty.py"
    broken.write_text("raise RuntimeError('on import')")
    empty.write_text("x = 1")
    status, line = error(capsys, "run", "--suite", "gmm2d", "--plugin", str(broken))
    assert status == 2 and "raised RuntimeError on import: on import" in line
    status, line = error(capsys, "run", "--suite", "gmm2d", "--plugin", str(empty))
    assert status == 2 and "defines neither a method, a subclass of baselines.distiller.Distiller" in line


def test_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    words = ["run", "--suite", "gmm2d", "--smoke", "--method", "sid", "--out", str(blocker / "runs")]
    status, line = error(capsys, *words)
    assert status == 2 and "a file stands where a folder is needed; choose another --out" in line


def test_full_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: str | bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    suite, out = tiny_suite(tmp_path), tmp_path / "runs"
    Store(out)
    monkeypatch.setattr("bench.runner.write_atomic", full)
    status, line = error(capsys, "run", "--suite", str(suite), "--method", "sid", "--out", str(out))
    assert status == 2 and "the disk is full; free some space and run again" in line
    assert not list(out.rglob("*.partial"))


def test_run_folder_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "layout.json").write_text('{"layout": 99}')
    status, line = error(
        capsys, "run", "--suite", "gmm2d", "--smoke", "--method", "sid", "--out", str(tmp_path)
    )
    assert status == 2 and "layout is 99, this version writes 1" in line


def test_two_runs_on_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cell import student_cells
    from bench.methods import MethodRegistry
    from bench.suite import load_suite

    path, out = tiny_suite(tmp_path), tmp_path / "runs"
    suite = load_suite(str(path))
    cells, _ = student_cells(suite, MethodRegistry(), ("sid",), "standard", (1,), 1)
    folder = Store(out).cell_folder(suite.id, cells[0].id)
    monkeypatch.setattr("bench.store.WAIT_SECONDS", 0.1)
    with FileLock(folder / ".lock"):
        (folder / ".holder").write_text("process 1 on elsewhere since 12:00:00")
        words = ["run", "--suite", str(path), "--method", "sid", "--no-references", "--out", str(out)]
        status, line = error(capsys, *words)
    assert status == 1 and "in use by process 1 on elsewhere" in line


def test_damaged_teacher_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from baselines.teachers import registry

    for name in ("gmm2d.safetensors", "gmm2d.json"):
        (tmp_path / name).write_bytes((registry.WEIGHTS / name).read_bytes())
    damaged = bytearray((tmp_path / "gmm2d.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "gmm2d.safetensors").write_bytes(bytes(damaged))
    monkeypatch.setattr("bench.models.load_teacher", lambda name: registry.load_teacher(name, tmp_path))
    words = ["run", "--suite", "gmm2d", "--smoke", "--method", "sid", "--out", str(tmp_path / "runs")]
    status, line = error(capsys, *words)
    expected = json.loads((tmp_path / "gmm2d.json").read_text())["sha256"]
    assert status == 3 and "sha256 found" in line and f"expected {expected}" in line
    (tmp_path / "gmm2d.safetensors").unlink()
    status, line = error(capsys, *words)
    assert status == 3 and "weight file is missing" in line


def test_damaged_stage_shows_both_digests(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.stage("thing", {"a": 1}, lambda f: write_atomic(f / "x.txt", "hello"))
    assert store.stage("thing", {"a": 1}, lambda f: pytest.fail("made twice")) == folder
    (folder / "x.txt").write_text("hellx")
    with pytest.raises(BenchError, match=r"x\.txt: damaged: sha256 found .* expected .*; delete the folder"):
        store.stage("thing", {"a": 1}, lambda f: None)


def test_damaged_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.record import read_record

    suite, out = tiny_suite(tmp_path), tmp_path / "runs"
    words = ["run", "--suite", str(suite), "--method", "sid", "--no-references", "--out", str(out)]
    assert main(words) == 0
    stage = next(out.glob("stages/distil/*"))
    (stage / "done.json").unlink()
    (stage / "checkpoint.pt").write_bytes(b"not a checkpoint")
    next(out.glob("*/*/record.json")).unlink()
    capsys.readouterr()
    assert main(words) == 1
    failure = read_record(next(out.glob("*/*/record.json"))).failure
    assert failure is not None and "checkpoint.pt: damaged checkpoint" in failure.message


def test_unfinished_stage_is_not_taken_for_done(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def breaks(folder: Path) -> None:
        write_atomic(folder / "x.txt", "half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.stage("thing", {}, breaks)
    made = store.stage("thing", {}, lambda f: write_atomic(f / "x.txt", "whole"))
    assert (made / "x.txt").read_text() == "whole"


def test_unknown_verb_part_and_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "rnu")[1].endswith("did you mean 'run'?")
    assert error(capsys, "teach", "--suite", "gmm2d", "--part", "hat")[0] == 2
