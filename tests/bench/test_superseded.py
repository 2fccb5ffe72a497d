"""Rows of older suite versions: in tables of their own, said what follows them, mixed with nothing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from record_factory import board, record, references, row, write_all

from bench.cli import main
from bench.record import Record
from bench.report.columns import notes
from bench.report.html import page
from bench.report.rowid import name_of
from bench.report.superseded import number_of
from bench.report.table import tables
from bench.report.views import Shown, lines_of
from bench.suite import Suite, load_suite

SUITE = load_suite("gmm2d").model_copy(update={"version": "1.10"})


def at(version: str, records: list[Record]) -> list[Record]:
    return [
        one.model_copy(update={"suite_version": version, "cell": f"{one.cell[:12]}{version:.4}"})
        for one in records
    ]


def mixed() -> list[Record]:
    """The small board at the present version, and an older one whose best row was not made again."""
    older = [record("sid", [row(1, 1.0)]), record("lcm[steps=1]", [row(1, 0.5)]), *references()]
    return [*at("1.9", older), *at("1.10", board()), *at("1.2", older)]


def test_versions_are_compared_as_numbers() -> None:
    assert number_of("1.10") > number_of("1.9") > number_of("0.12")


def test_older_versions_come_last_and_change_nothing_of_the_present_one() -> None:
    made = tables(mixed(), SUITE)
    assert [(t.version, t.superseded) for t in made] == [
        ("1.10", ""), ("1.9", "gmm2d@1.10"), ("1.2", "gmm2d@1.10"),
    ]  # fmt: skip
    (alone,) = tables(at("1.10", board()), SUITE)
    assert made[0] == alone
    assert not any(line.superseded for line in lines_of(made[0]))


def test_a_row_is_followed_by_the_one_of_its_name_else_by_the_suite() -> None:
    older = {line.label: line.superseded for line in lines_of(tables(mixed(), SUITE)[1])}
    present = {name_of(line.id) for line in lines_of(tables(mixed(), SUITE)[0])}
    assert older["sid"] == "gmm2d@1.10/sid/quick/nfe1" and older["sid"] in present
    assert older["lcm[steps=1]"] == "gmm2d@1.10"
    assert older["real"] == "gmm2d@1.10/real/anchor/nfe0"


def test_a_newer_version_than_this_bench_knows_is_not_superseded() -> None:
    made = tables(at("2.0", board()), SUITE)
    assert [table.superseded for table in made] == [""]


def test_notes_and_page_say_so() -> None:
    records = mixed()
    made = tables(records, SUITE)
    assert "superseded: rows of different versions" in "\n".join(notes(made[1]))
    assert "superseded" not in "\n".join(notes(made[0]))
    text = page([Shown(SUITE, records, made)], Path("/nonexistent"))
    assert text.count("superseded by gmm2d@1.10</b>") == 2
    assert text.count("superseded by</button>") == 2, "a column of the two older tables"


@pytest.fixture
def as_shipped(monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setattr("bench.cli.leaderboard.load_suite", lambda name: SUITE)
    monkeypatch.setattr("bench.report.rows.load_suite", lambda name: SUITE)
    return SUITE


def test_every_format_says_so(as_shipped: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(write_all(mixed(), tmp_path / "records"))

    def shown(*words: str) -> str:
        assert main(["leaderboard", "gmm2d", "--records", root, *words]) == 0
        return capsys.readouterr().out

    for form in ("terminal", "md", "latex"):
        text = shown("--format", form)
        assert text.count("SUPERSEDED by gmm2d@1.10") == 2, form
        assert "gmm2d@1.10/sid/quick/nfe1" in text, form
    rows = list(csv.DictReader(io.StringIO(shown("--format", "csv"))))
    assert {r["version"]: bool(r["superseded_by"]) for r in rows if r["kind"] == "student"} == {
        "1.10": False, "1.9": True, "1.2": True,
    }  # fmt: skip
    told = json.loads(shown("--format", "json"))["tables"]
    assert [table["superseded"] for table in told] == ["", "gmm2d@1.10", "gmm2d@1.10"]
    for view in ("break-even", "pareto"):
        assert "SUPERSEDED by gmm2d@1.10" in shown("--view", view), view
    path = tmp_path / "board.parquet"
    assert main(["leaderboard", "gmm2d", "--records", root, "--out", str(path)]) == 0
    capsys.readouterr()
    import pandas as pd

    frame = pd.read_parquet(path)
    assert set(frame[frame["version"] == "1.2"]["superseded_by"]) >= {"gmm2d@1.10"}


def test_citing_an_older_row_says_so(
    as_shipped: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(write_all(mixed(), tmp_path / "records"))
    for name, later in (("gmm2d@1.9", True), ("gmm2d@1.10", False)):
        assert main(["cite", f"{name}/sid/quick/nfe1", "--records", root]) == 0
        text = capsys.readouterr().out
        assert ("% superseded by gmm2d@1.10/sid/quick/nfe1: versions" in text) == later
