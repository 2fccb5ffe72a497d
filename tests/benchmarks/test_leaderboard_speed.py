"""A leaderboard of 2,000 records in every format: timings are shown, the size of the page is asserted."""

from __future__ import annotations

import random

import pytest
from timing import Beside

from bench.record import Cost, CurvePoint, Latency, MetricValue, Provenance, Record, Row
from bench.report.formats import TABLE_RENDERERS
from bench.report.html import page
from bench.report.parquet import parquet
from bench.report.table import Table, tables
from bench.report.terminal import terminal
from bench.report.views import Shown
from bench.suite import Suite, load_suite

RECORDS = 2_000
SEEDS = 2
LIMIT = 3_000_000  # bytes of the page
PLACES = (0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)  # of the work, where curves have points


def metric(draw: random.Random, mean: float) -> MetricValue:
    values = [mean * draw.uniform(0.97, 1.03) for _ in range(3)]
    centre = sum(values) / 3
    return MetricValue(
        mean=centre, std=0.02 * mean, ci95=(centre - 0.05 * mean, centre + 0.05 * mean), values=values
    )


def digest(draw: random.Random, digits: int = 64) -> str:
    return f"{draw.getrandbits(4 * digits):0{digits}x}"


def hash_of(label: str) -> int:
    return sum(map(ord, label))


def one_row(draw: random.Random, suite: Suite, nfe: int, work: float, quality: float) -> Row:
    return Row(
        nfe=nfe,
        nfe_by_role={"student": float(nfe)},
        steps=nfe,
        work=work,
        metrics={column.key: metric(draw, quality) for column in suite.metrics},
        latency=Latency(
            protocol="latency-b1-cpu@1", batch=1, median_ms=1.0, p90_ms=1.2, teacher_forward_ms=0.9,
            ratio=nfe * draw.uniform(0.9, 1.3),
        ),
        student_sha256=digest(draw),
        samples_sha256=digest(draw),
    )  # fmt: skip


def one_record(draw: random.Random, suite: Suite, label: str, seed: int, kind: str = "student") -> Record:
    several = kind != "student" or hash_of(label) % 4 == 0
    counts = (1, 2, 4, 8) if several else (2 ** (hash_of(label) // 4 % 4),)
    work, quality = 1_000_000.0, draw.uniform(5, 80)
    trained = kind == "student"
    return Record(
        cell=digest(draw, 16), suite=suite.name, suite_version=suite.version, protocol=suite.protocol.id,
        method=label, method_version="1.0", label=label, kind=kind, paper="zhou2024sid" if trained else None,
        needs=["data"] if trained else [], budget="standard", seed=seed, status="ok",
        config={"lr": (1e-4, 3e-4, 1e-3)[hash_of(label) % 3], "clip": 10.0, "beta2": 0.999},
        rows=[one_row(draw, suite, n, work if trained else 0.0, quality / n**0.3) for n in counts],
        curve=[
            CurvePoint(
                work=place * work + draw.uniform(0, 500), images=int(place * 1e5), steps=n,
                metrics={column.key: quality / place**0.4 for column in suite.metrics},
            )
            for n in counts for place in PLACES if trained
        ],
        cost=Cost(
            work=work, budget=work, overshoot=0.0, units_by_role={"student": work}, forwards_by_role={},
            backwards_by_role={}, iterations=1000, images=100_000, seconds=draw.uniform(50, 90),
        ) if trained else None,
        provenance=Provenance(
            code_sha=digest(draw, 40) if seed == 0 else "0" * 40, dirty=False, diff_sha256=None,
            method_closure_sha256=digest(draw), packages={"torch": "2.6.0", "numpy": "2"}, python="3.11",
            platform="Linux x86_64", device="NVIDIA H100", threads=1, seeds={"train": seed, "sample": 1000},
            teacher_sha256="2" * 64, teacher_form="exact", reference_sha256=None, extractor_sha256=None,
            created=f"2030-01-01T{draw.randrange(24):02}:{draw.randrange(60):02}:{draw.randrange(60):02}Z",
        ),
        command=f"bench run --suite {suite.name} --budget standard --method '{label}' --seeds 2 --threads 1",
    )  # fmt: skip


def many(suite: Suite, count: int, draw: random.Random) -> list[Record]:
    """Students of two seeds each, with the references that the suite names."""
    made = [one_record(draw, suite, name, 0, "solver") for name in ("euler", "heun", "dpmpp_2m")]
    made += [
        one_record(draw, suite, "teacher[heun]", 0, "teacher"),
        one_record(draw, suite, "real", 0, "anchor"),
    ]
    labels = (f"method-{i}[alpha={draw.uniform(0, 2):.2f},steps={i % 8 + 1}]" for i in range(count))
    while len(made) < count:
        label = next(labels)
        made += [one_record(draw, suite, label, seed) for seed in range(SEEDS)]
    return made[:count]


@pytest.fixture(scope="module")
def boards() -> list[tuple[Suite, list[Record]]]:
    draw = random.Random(0)
    return [(suite, many(suite, RECORDS // 2, draw)) for suite in map(load_suite, ("gmm2d", "digits"))]


def model(boards: list[tuple[Suite, list[Record]]]) -> list[Table]:
    return [table for suite, records in boards for table in tables(records, suite)]


FORMS = {**TABLE_RENDERERS, "parquet": parquet, "terminal": terminal}


@pytest.mark.parametrize("form", list(FORMS))
def test_records_to_a_format(beside: Beside, boards, form: str) -> None:
    what = f"{RECORDS:,} records to {form}"
    beside("Leaderboards", what, lambda: FORMS[form](model(boards)), rounds=1)


def shown(boards: list[tuple[Suite, list[Record]]]) -> list[Shown]:
    return [Shown(suite, records, tables(records, suite)) for suite, records in boards]


def test_records_to_the_page(beside: Beside, boards, tmp_path) -> None:
    what = f"{RECORDS:,} records to the interactive page"
    beside("Leaderboards", what, lambda: page(shown(boards), tmp_path), rounds=2, warm=0)


def test_the_page_of_many_records_stays_small(boards, tmp_path) -> None:
    (tmp_path / "gmm2d").mkdir()
    (tmp_path / "gmm2d" / "grid.png").write_bytes(bytes(150_000))  # what the committed ones weigh together
    made = shown(boards)
    assert sum(len(one.records) for one in made) == RECORDS
    assert len(page(made, tmp_path).encode()) <= LIMIT
