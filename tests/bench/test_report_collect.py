import json

import pytest
from record_factory import board, record, row, write_all

from bench.errors import BenchError, UsageError
from bench.record import write_record
from bench.report.collect import RECORDS, collect, record_files
from bench.suite import load_suite

SUITE = load_suite("gmm2d")


def read(root):
    return collect(record_files(root)["gmm2d"], SUITE)


def test_all_records_of_a_folder_come_back(tmp_path):
    found = read(write_all(board(), tmp_path))
    assert sorted(r.cell for r in found) == sorted(r.cell for r in board())


def test_a_folder_of_runs_is_read_by_its_cells(tmp_path):
    for one in board():
        write_record(one, tmp_path / "gmm2d@1.0" / one.cell / "record.json")
    (tmp_path / "gmm2d@1.0" / "x" / "spec.json").parent.mkdir()
    (tmp_path / "gmm2d@1.0" / "x" / "spec.json").write_text("{}")
    (tmp_path / "stages" / "train").mkdir(parents=True)
    (tmp_path / "stages" / "train" / "done.json").write_text("{}")
    assert list(record_files(tmp_path)) == ["gmm2d"]
    assert len(read(tmp_path)) == len(board())


def test_no_records_is_a_failure_that_says_how_to_make_some(tmp_path):
    with pytest.raises(BenchError, match="no records here; make some with 'bench run") as caught:
        record_files(tmp_path)
    assert caught.value.status == 1


def test_a_missing_default_folder_is_no_usage_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match="make some with") as caught:
        record_files(RECORDS)
    assert caught.value.status == 1


def test_a_missing_named_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        record_files(tmp_path / "nowhere")


def broken(tmp_path, change):
    """A records folder with one record, changed as JSON."""
    write_all([record("sid")], tmp_path)
    (path,) = (tmp_path / "gmm2d").glob("*.json")
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("method"), r"\.json: key 'method': found nothing, expected a value"),
        (lambda raw: raw.update(extra=1), r"\.json: key 'extra'"),
        (lambda raw: raw.update(schema_version=0), r"\.json: schema_version is 0, expected 1 or 2"),
        (lambda raw: raw.update(suite="digits"), r"\.json: key 'suite': found 'digits', expected 'gmm2d'"),
        (lambda raw: raw["rows"][0].update(nfe="many"), r"\.json: key 'rows\.0\.nfe'"),
        (lambda raw: raw["rows"][0]["metrics"].pop("swd"), r"found energy, within, expected 'swd'"),
        (lambda raw: raw["rows"][0].update(metrics={}), r"key 'rows\.0\.metrics': found none"),
        (lambda raw: raw["rows"][0]["metrics"]["swd"].update(mean=float("nan")), r"NaN is not JSON"),
    ],
)
def test_a_broken_record_is_named_with_its_key(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        read(broken(tmp_path, change))


def test_a_number_too_large_for_a_float_is_refused(tmp_path):
    write_all([record("sid", [row(1, 9.0)])], tmp_path)
    (path,) = (tmp_path / "gmm2d").glob("*.json")
    path.write_text(path.read_text().replace('"mean": 9.0', '"mean": 1e999'))
    with pytest.raises(UsageError, match=r"rows\.0\.metrics\.swd': found a number that is not finite"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "gmm2d").mkdir()
    (tmp_path / "gmm2d" / "half.json").write_text(text)
    with pytest.raises(UsageError, match=r"half\.json"):
        read(tmp_path)


def test_one_training_twice_names_both_files(tmp_path):
    write_record(record("sid"), tmp_path / "gmm2d" / "a.json")
    write_record(record("sid", [row(1, 8.0)]), tmp_path / "gmm2d" / "b.json")
    with pytest.raises(UsageError, match=r"b\.json: sid, seed 0 is also in .*a\.json; keep one"):
        read(tmp_path)
