"""The papers' numbers: read whole, refused by line, found beside the code, shipped in the wheel."""

from __future__ import annotations

import csv
import fnmatch
import tomllib
from pathlib import Path

import pytest

from bench.errors import AssetError, UsageError
from bench.references import bibliography
from bench.reported import COLUMNS, FILE, reported_numbers
from bench.shipped import REPORTED, reported_file

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "dataset": "imagenet64", "conditioning": "class", "method": "SiD", "variant": "alpha=1.2",
    "teacher": "EDM", "nfe": "1", "metric": "fid", "value": "1.50", "params_m": "",
    "training_budget": "", "paper": "zhou2024sid", "arxiv_id": "2404.04057", "year": "2024",
    "table": "Table 1", "seen_in": "SiD full text",
}  # fmt: skip


def table(path: Path, *rows: dict[str, str], head: tuple[str, ...] = COLUMNS) -> Path:
    """Write a table of reported numbers."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows([list((GOOD | row).values()) for row in rows])
    return path


def test_the_file_that_ships_is_read_whole_with_its_line_numbers() -> None:
    numbers = reported_numbers()
    text = reported_file(FILE).read_text().splitlines()
    assert len(numbers) == len(text) - 1 > 400
    assert all(one.dataset == text[one.line - 1].split(",")[0] for one in numbers)
    assert {one.paper for one in numbers} <= set(bibliography())


def test_values_keep_their_digits_and_sources() -> None:
    by_line = {(n.method, n.variant, n.nfe): n for n in reported_numbers() if n.dataset == "imagenet64"}
    sid = by_line["SiD", "alpha=1.2", 1]
    assert (sid.text, sid.value, sid.paper, sid.table, sid.second_hand) == (
        "1.524", 1.524, "zhou2024sid", "README", False,
    )  # fmt: skip
    consistency = by_line["CD", "LPIPS", 1]
    assert (consistency.known, consistency.own, consistency.second_hand) == ("lcm", True, True)
    assert by_line["CT", "LPIPS", 1].text == "13.0"  # not 13
    again = by_line["DMD2", "FastGen", 1]
    assert (again.known, again.own) == ("dmd2", False)  # its numbers are FastGen's
    assert by_line["EDM", "pre-trained ADM net with EDM sampler", None].known == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"value": "about 2"}, "line 3: column 'value': found 'about 2'"),
        ({"value": "nan"}, "line 3: column 'value': found 'nan'"),
        ({"value": "inf"}, "line 3: column 'value'"),
        ({"value": "-1"}, "line 3: column 'value': found '-1'"),
        ({"value": ""}, "line 3: column 'value'"),
        ({"nfe": "1.5"}, "line 3: column 'nfe': found '1.5', expected a positive integer"),
        ({"nfe": "0"}, "line 3: column 'nfe'"),
        ({"nfe": "²"}, "line 3: column 'nfe'"),
        ({"year": ""}, "line 3: column 'year'"),
        (
            {"paper": "zhou2024sidd"},
            "line 3: column 'paper': unknown BibTeX key 'zhou2024sidd'; did you mean",
        ),
        ({"paper": ""}, "line 3: column 'paper': found nothing"),
        ({"method": " "}, "line 3: column 'method': found nothing"),
        ({"seen_in": ""}, "line 3: column 'seen_in': found nothing"),
        ({"variant": "alpha=1.2", "value": "9"}, "line 3: the same number is on line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: dict[str, str], said: str) -> None:
    path = table(tmp_path / "r.csv", {}, {"variant": "other"} | row)
    with pytest.raises(UsageError) as caught:
        reported_numbers(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_number_of_other_steps_or_another_table_is_not_the_same(tmp_path: Path) -> None:
    assert len(reported_numbers(table(tmp_path / "r.csv", {}, {"nfe": "2"}, {"table": "Table 9"}))) == 3


def test_line_numbers_count_lines_not_rows(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", {"training_budget": "two\nlines"}, {"value": "x"})
    with pytest.raises(UsageError, match="line 4: column 'value'"):
        reported_numbers(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: found columns"),
        ("dataset,value\n", "line 1: found columns ['dataset', 'value'], expected dataset, conditioning"),
        (",".join(COLUMNS) + "\na,b\n", "line 2: found 2 cells, expected 15"),
        (",".join(COLUMNS) + '\n"open', "cannot read the table"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        reported_numbers(path)
    assert f"{path}: {said}" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"r\.csv: cannot read"):
        reported_numbers(tmp_path / "r.csv")


def test_a_lost_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.shipped.REPORTED", tmp_path)
    with pytest.raises(AssetError, match=r"references\.bib: file is missing"):
        reported_file("references.bib")


def test_there_is_one_place_and_the_wheel_holds_it() -> None:
    assert REPORTED == ROOT / "leaderboards" / "reported"
    assert not list((ROOT / "bench").rglob(FILE)) and not list((ROOT / "bench").rglob("references.bib"))
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = setuptools["package-data"]["leaderboards.reported"]
    assert "leaderboards.reported" in setuptools["packages"]["find"]["include"]
    for path in REPORTED.iterdir():
        assert any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns), path.name
