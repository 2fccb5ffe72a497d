import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError
from record_factory import board, record

from bench.record import Record, read_record, schema_text, write_record

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "bench" / "data" / "record.schema.json"
HISTORIC = sorted((ROOT / "tests" / "data" / "records").glob("v*/*.json"))


def test_the_published_schema_is_that_of_the_code():
    """Remake: python -c "from bench.record import schema_text; print(schema_text(), end='')"."""
    assert json.loads(SCHEMA.read_text()) == json.loads(schema_text())


@pytest.mark.parametrize("one", board(), ids=lambda r: f"{r.label}-{r.seed}")
def test_records_satisfy_the_schema_and_survive_the_disk(one, tmp_path):
    write_record(one, tmp_path / "record.json")
    jsonschema.validate(json.loads((tmp_path / "record.json").read_text()), json.loads(SCHEMA.read_text()))
    assert read_record(tmp_path / "record.json") == one


@pytest.mark.parametrize("change", [{"status": "fine"}, {"rows": [{}]}, {"unheard_of": 1}])
def test_the_schema_refuses_what_the_code_refuses(change):
    raw = {**record().model_dump(mode="json"), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, json.loads(SCHEMA.read_text()))
    with pytest.raises(ValidationError):
        Record.model_validate(raw)


def test_there_are_historic_records():
    assert {path.stem for path in HISTORIC} >= {"student", "failed", "anchor"}


@pytest.mark.parametrize("path", HISTORIC, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_records_written_by_older_versions_can_still_be_read(path):
    found = read_record(path)
    raw = json.loads(path.read_text())
    assert found.cell == raw["cell"]
    assert [row.metrics["swd"].mean for row in found.rows] == [
        r["metrics"]["swd"]["mean"] for r in raw["rows"]
    ]


def test_writing_refuses_numbers_that_are_not_finite(tmp_path):
    bad = record().model_copy(update={"config": {"lr": float("inf")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(bad, tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_no_half_record_is_left_by_a_failed_write(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_record(record(), tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []
