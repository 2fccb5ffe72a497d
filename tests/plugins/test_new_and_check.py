"""``bench new`` and ``bench check`` as a user calls them; three ways of bringing a method, one record."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_sources import install, package
from tiny import tiny_suite

from bench.check.run import check
from bench.cli import main
from bench.closure import closure_digest
from bench.record import Record, read_record

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [
        name for name in sys.modules if name.startswith(("small_package", "bench_plugin_", "mine_all"))
    ]:
        del sys.modules[name]
    closure_digest.cache_clear()


def test_a_new_method_is_small_and_keeps_every_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "method", "mine_all", "--out", str(tmp_path)]) == 0
    assert f"next: bench check {tmp_path / 'mine_all'}" in capsys.readouterr().out
    source = (tmp_path / "mine_all" / "src" / "mine_all" / "method.py").read_text()
    (cls,) = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "MineAll"]
    lines = source.splitlines()[cls.lineno - 1 : cls.end_lineno]
    assert len(lines) <= 30
    assert max(map(len, source.splitlines())) <= 110
    ast.parse((tmp_path / "mine_all" / "tests" / "test_mine_all.py").read_text())
    verdicts = check(tmp_path / "mine_all")["mine_all"]
    assert {verdict.state for verdict in verdicts} == {"passed"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["method", "Mine"], "expected small letters"),
        (["method", "a__b"], "expected small letters"),
        (["method", "../up"], "expected small letters"),
        (["method", "sid"], "is taken"),
        (["method", "pd"], "is taken"),
        (["methods", "mine"], "did you mean 'method'?"),
    ],
)
def test_names_that_are_refused(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *words, "--out", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["new", "method", "mine", "--out", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err and not list((tmp_path / "mine").iterdir())


def records(out: Path) -> dict[str, Record]:
    return {record.label: record for record in map(read_record, sorted(out.glob("*/*/record.json")))}


def test_three_ways_give_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = str(tiny_suite(tmp_path, **{"work = 9_000": "work = 2_000"}))
    folder = package(tmp_path / "package")
    lone = tmp_path / "lone.py"
    lone.write_text((folder / "src" / "small_package" / "method.py").read_text())
    found = {}
    for way, given in (("file", lone), ("folder", folder), ("installed", None)):
        if given is None:
            install(folder, tmp_path / "site")
            monkeypatch.syspath_prepend(tmp_path / "site")
            monkeypatch.syspath_prepend(folder / "src")
        plugin = ["--plugin", str(given)] if given else []
        words = [
            "--no-references",
            "--no-isolate",
            "--nfe",
            "1",
            "--method",
            "small",
            "--out",
            str(tmp_path / way),
        ]
        assert main(["run", "--suite", suite, *plugin, *words]) == 0
        found[way] = records(tmp_path / way)["small"]

    def made(record: Record) -> object:
        rows = [row.model_copy(update={"latency": None}) for row in record.rows]
        provenance = record.provenance.model_copy(update={"created": ""})
        return rows, record.curve, record.cell, record.config, record.status, provenance

    first = made(found["file"])
    assert made(found["folder"]) == first and made(found["installed"]) == first
    assert found["file"].rows[0].student_sha256 and found["file"].provenance.method_closure_sha256
    assert {way: record.method_version for way, record in found.items()} == {
        "file": "plugin", "folder": "2.1", "installed": "2.1",
    }  # fmt: skip


BROKEN = """
from baselines.distiller import Distiller
from baselines.generators import OneStep
import os


class Ends(Distiller):
    name = "ends"
    paper = "none"
    summary = "leaves while it is checked"

    def __init__(self, teacher, config, context):
        super().__init__(teacher, config, context)
        print("last words")
        os._exit(7)

    def step(self, batch):
        return {}

    def students(self):
        return {}

    @classmethod
    def generator(cls, students, config, space):
        return OneStep(students, 1.0)
"""


@pytest.mark.slow
def test_a_method_that_ends_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ends.py"
    path.write_text(BROKEN)
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "left its process (status 7) before the end of the check" in shown


@pytest.mark.slow
def test_check_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.check.examples import EXAMPLES, source

    path = tmp_path / "mine_all.py"
    for members, status in ((EXAMPLES["DB108"].keeps, 0), (EXAMPLES["DB108"].breaks, 1)):
        path.write_text(source(members))
        assert main(["check", str(path)]) == status
        shown = capsys.readouterr().out
        assert "example:" in shown and ("DB108  failed" in shown) == bool(status)
    assert main(["check", "lcmm"]) == 2
    assert "unknown method 'lcmm'; did you mean 'lcm'?" in capsys.readouterr().err


@pytest.mark.slow
def test_four_commands_from_nothing_to_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, runs = tmp_path / "mine_all", tmp_path / "runs"
    assert main(["new", "method", "mine_all", "--out", str(tmp_path)]) == 0
    assert main(["check", str(folder)]) == 0
    words = [
        "--suite",
        "gmm2d",
        "--smoke",
        "--no-references",
        "--plugin",
        str(folder),
        "--method",
        "mine_all",
    ]
    assert main(["run", *words, "--out", str(runs)]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "gmm2d", "--records", str(runs)]) == 0
    assert "mine_all" in capsys.readouterr().out


def test_check_without_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "found no PLUGIN" in capsys.readouterr().err
