"""Roles, memory, throughput and sources of spread are shown where a record has them, and nowhere else."""

from __future__ import annotations

import csv
import io

import pytest
from record_factory import provenance, record, references, row, value

from bench.record import Record, write_record
from bench.report.csv_ import csv_
from bench.report.describe import record_text
from bench.report.markdown import markdown
from bench.report.table import Line, tables
from bench.suite import load_suite


def full(nfe: int, values: list[float]):
    """A row of a pipeline on a GPU."""
    made = row(nfe, sum(values) / len(values))
    latency = made.latency.model_copy(update={"peak_memory_mib": 512.0, "beside": "network"})
    throughput = latency.model_copy(update={"protocol": "throughput-bmax@1", "images_per_s": 1234.0})
    metric = value(sum(values) / len(values)).model_copy(update={"values": values})
    return made.model_copy(
        update={
            "latency": latency,
            "throughput": throughput,
            "nfe_by_role": {"student": float(nfe), "autoencoder": 1.0},
            "metrics": {**made.metrics, "swd": metric},
        }
    )


def made(*records):
    return tables([*records, *references()], load_suite("gmm2d"))


def test_a_pipeline_shows_roles_memory_and_throughput() -> None:
    found = made(record("sid", [full(4, [9.0, 9.1, 9.2])], provenance=provenance(device="H100")))
    text = markdown(found)
    assert "1 autoencoder + 4 student" in text and "512 MiB" in text and "1.23 k" in text
    assert "weights of the networks called" in text and "in the largest batch that fits" in text
    line = next(line for line in csv.DictReader(io.StringIO(csv_(found))) if line["method"] == "sid")
    assert (line["nfe"], line["nfe_student"], line["nfe_autoencoder"]) == ("4", "4.0", "1.0")
    assert (line["memory_mib"], line["samples_per_s"]) == ("512.0", "1234.0")


def test_records_without_them_have_no_such_columns() -> None:
    found = made(record("sid", [row(1, 9.0)]))
    text, header = markdown(found), csv_(found).splitlines()[0]
    assert not any(word in text for word in ("by role", "memory", "samples/s", "sd by source"))
    assert not any(word in header for word in ("nfe_", "memory", "samples_per_s", "sd_"))


def test_spread_of_trainings_is_split() -> None:
    """Trainings 2 apart, blocks 1 apart, nothing beyond: the standard deviations of the two sources."""
    records = [record("sid", [full(1, [9.0 + 2 * s, 10.0 + 2 * s])], seed=s) for s in range(2)]
    found = made(*records)
    assert "training 1.41, sampling 0.71, rest 0.00" in markdown(found)
    line = next(line for line in csv.DictReader(io.StringIO(csv_(found))) if line["method"] == "sid")
    assert float(line["sd_training"]) == pytest.approx(2**0.5)
    assert float(line["sd_sampling"]) == pytest.approx(0.5**0.5)


def test_trainings_on_other_blocks_are_not_split() -> None:
    records = [record("sid", [full(1, [9.0] * (s + 2))], seed=s) for s in range(2)]
    assert "sd by source" not in markdown(made(*records))


def test_info_of_a_record_tells_its_speed(tmp_path) -> None:
    path = tmp_path / "record.json"
    write_record(record("sid", [full(4, [9.0, 9.1])]), path)
    text = record_text(path)
    assert "1 autoencoder, 4 student, 4.21 times one teacher forward (its network)" in text
    assert "512 MiB at its peak" in text and "1234 samples/s at batch 1 (throughput-bmax@1)" in text
    write_record(record("sid", [row(1, 9.0).model_copy(update={"latency": None})]), path)
    assert "Speed" not in record_text(path)


def test_latencies_over_a_closed_form_are_not_mixed_in() -> None:
    """Records of before timed the exact teacher, which is many times as fast as its network."""
    new = row(1, 9.0)
    assert new.latency is not None
    old = new.model_copy(update={"latency": new.latency.model_copy(update={"beside": None, "ratio": 50.0})})
    exact, network = provenance(), provenance(teacher_form="network")
    both = [record("sid", [old]), record("sid", [new], seed=1)]
    assert line_of(both).latency == pytest.approx(new.latency.ratio)
    assert line_of([record("sid", [old], provenance=exact)]).latency is None
    assert line_of([record("sid", [old], provenance=network)]).latency == 50.0


def line_of(records: list[Record]) -> Line:
    (table,) = tables(records, load_suite("gmm2d"))
    (section,) = table.sections
    (line,) = section.lines
    return line
