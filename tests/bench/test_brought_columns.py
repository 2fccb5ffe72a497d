"""Metrics of plugins in tables: shown, sorted and filtered by in every format, never ranked by."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from record_factory import board, provenance, record, references, row, value, write_all

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.merging import merge_records
from bench.methods import MethodRegistry
from bench.record import Failure, MetricValue, PluginMetric, Record, read_record, write_record
from bench.report.collect import collect
from bench.report.columns import notes
from bench.report.filters import choose, parse_filter, sort
from bench.report.html import page
from bench.report.latex import latex
from bench.report.rowid import record_digest
from bench.report.table import tables
from bench.report.views import Shown, lines_of
from bench.stages import metric_value
from bench.suite import load_suite
from bench.verify.statement import problems_of

SUITE = load_suite("gmm2d")
FAILED = Failure(stage="plugin metric", kind="RuntimeError", message="no such luck")


def metric(mean: float, *, steps: tuple[int, ...] = (1,), **changes: object) -> PluginMetric:
    fields = {
        "title": "spread x10", "about": "how far samples spread", "better": "higher", "digits": 2,
        "version": "3", "package": "1.4", "closure_sha256": "a" * 64,
        "rows": {n: value(mean / n) for n in steps},
    }  # fmt: skip
    return PluginMetric.model_validate({**fields, **changes})


def with_metric(one: Record, mean: float, name: str = "spread", **changes: object) -> Record:
    steps = tuple(r.steps for r in one.rows)
    return one.model_copy(update={"plugin_metrics": {name: metric(mean, steps=steps, **changes)}})


def measured() -> list[Record]:
    """The small board with a metric that orders its students the other way round."""
    means = {"sid": 1.0, "dmd": 5.0, "progressive": 9.0}
    return [with_metric(r, means[r.label]) if r.label in means else r for r in board()]


def test_ranks_do_not_know_of_it() -> None:
    plain, (made,) = tables(board(), SUITE)[0], tables(measured(), SUITE)
    for before, after in zip(lines_of(plain), lines_of(made), strict=True):
        own = {key: one for key, one in after.metrics.items() if key != "spread"}
        assert replace(after, metrics=own, id=before.id) == before
    assert [column.key for column in made.columns] == [*(c.key for c in plain.columns), "spread"]
    assert (made.columns[-1].title, made.columns[-1].better, made.columns[-1].digits) == (
        "spread x10", "higher", 2,
    )  # fmt: skip


def test_seeds_are_averaged_and_a_seed_without_it_leaves_the_row_without() -> None:
    records = [with_metric(record(seed=s), m) for s, m in enumerate((1.0, 2.0, 6.0))]
    (table,) = tables([*records, *references()], SUITE)
    found = table.sections[0].lines[0].metrics["spread"]
    assert (found.mean, found.over) == (pytest.approx(3.0), "seeds")
    (table,) = tables([*records[:2], record(seed=2), *references()], SUITE)
    assert "spread" not in table.sections[0].lines[0].metrics


def test_sorted_and_filtered_by() -> None:
    made = tables(measured(), SUITE)
    (table,) = sort(made, "spread")
    assert [line.method for line in table.sections[0].lines] == ["progressive", "dmd", "sid"]
    (kept,) = choose(made, [parse_filter("spread>=5", ["spread"])])
    assert {line.method for line in lines_of(kept)} == {"progressive", "dmd"}


def test_two_versions_share_no_column() -> None:
    records = [with_metric(record("sid"), 1.0), with_metric(record("dmd"), 2.0, version="4")]
    (table,) = tables([*records, *references()], SUITE)
    assert [c.key for c in table.columns][-2:] == ["spread@3", "spread@4"]
    ours = {line.method: set(line.metrics) & {"spread@3", "spread@4"} for line in lines_of(table)}
    assert (ours["sid"], ours["dmd"]) == ({"spread@3"}, {"spread@4"})
    assert parse_filter("spread@4<9", ["spread@4"]).number == 9


def test_notes_say_whose_it_is_its_sources_and_failures() -> None:
    records = [
        with_metric(record("sid"), 1.0),
        with_metric(record("dmd"), 2.0, closure_sha256="b" * 64),
        with_metric(record("lcm", [row(1, 8.0)]), 0.0, rows={}, failure=FAILED),
    ]
    (table,) = tables([*records, *references()], SUITE)
    said = "\n".join(notes(table))
    assert f"sources {'a' * 12}, {'b' * 12}), ranks nothing. how far samples spread." in said
    assert "spread x10 failed on lcm: RuntimeError: no such luck" in said


def test_every_format_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(write_all(measured(), tmp_path / "records"))

    def shown(*words: str) -> str:
        assert main(["leaderboard", "gmm2d", "--records", root, *words]) == 0
        return capsys.readouterr().out

    assert "spread x10 ↑" in shown() and "spread x10 ↑" in shown("--format", "md")
    rows = list(csv.DictReader(io.StringIO(shown("--format", "csv", "--sort", "spread"))))
    by_method = {one["method"]: one for one in rows if one["nfe"] == "1"}
    assert float(by_method["dmd"]["spread"]) == 5 and by_method["dmd"]["spread_low"] == "4.9"
    told = json.loads(shown("--format", "json", "--filter", "spread>6"))["tables"][0]
    assert [line["method"] for section in told["sections"] for line in section["lines"]] == ["progressive"]
    assert told["brought"][0]["key"] == "spread"
    (table,) = tables(measured(), SUITE)
    assert r"/spread}{5.00}" in latex([table])
    assert "spread x10" in page([Shown(SUITE, measured(), [table])], tmp_path)


HOSTILE = ["swd", "Spread", "a b", "x}\\input{y", "<b>", "", "_x"]


@pytest.mark.parametrize("name", HOSTILE[1:])
def test_a_name_that_acts_is_no_name(name: str) -> None:
    raw = with_metric(record(), 1.0).model_dump(mode="json")
    raw["plugin_metrics"][name] = raw["plugin_metrics"].pop("spread")
    with pytest.raises(ValidationError):
        Record.model_validate(raw)


def test_texts_that_act_are_text(tmp_path: Path) -> None:
    bad = "</script><b onclick=1>\\input{x}\x1b["
    one = with_metric(record(), 1.0, title=bad, about=bad)
    (table,) = tables([one, *references()], SUITE)
    text = page([Shown(SUITE, [one], [table])], tmp_path)
    assert "<b onclick" not in text and "\x1b" not in text
    assert "\\input{x}" not in latex([table])


def test_the_key_of_the_suite_and_infinite_numbers_are_refused(tmp_path: Path) -> None:
    for number, one in enumerate([with_metric(record(), 1.0, "swd"), with_metric(record(), 1.0)]):
        path = tmp_path / str(number) / "one.json"
        write_record(one, path)
        path.write_text(path.read_text().replace('"mean": 1.0', '"mean": 1e999'))
        with pytest.raises(
            UsageError, match=r"plugin_metrics\.(swd'.*key of a metric|spread\.rows\.1'.*finite)"
        ):
            collect([path], SUITE)


def test_an_older_record_is_read_and_keeps_its_digest(tmp_path: Path) -> None:
    raw = record().model_dump(mode="json")
    del raw["plugin_metrics"]
    (tmp_path / "old.json").write_text(json.dumps({**raw, "schema_version": 1}))
    old = read_record(tmp_path / "old.json")
    assert old == record() and record_digest(old) == record_digest(record())
    assert record_digest(with_metric(record(), 1.0)) != record_digest(record())


def test_merging_joins_what_two_machines_measured(tmp_path: Path) -> None:
    base = record(provenance=provenance())
    write_record(with_metric(base, 1.0), tmp_path / "a" / "gmm2d" / "one.json")
    write_record(with_metric(base, 2.0, "other"), tmp_path / "b" / "gmm2d" / "one.json")
    lost = with_metric(base, 2.0, rows={}, failure=FAILED)
    write_record(lost, tmp_path / "c" / "gmm2d" / "one.json")
    for order in ("abc", "cba"):
        (path,) = merge_records([tmp_path / x for x in order], tmp_path / order)
        found = read_record(path).plugin_metrics
        assert set(found) == {"spread", "other"} and found["spread"].failure is None
    write_record(with_metric(base, 1.5), tmp_path / "d" / "gmm2d" / "one.json")
    with pytest.raises(BenchError, match=r"plugin metric spread\.rows\.1\.ci95\.0"):
        merge_records([tmp_path / "a", tmp_path / "d"], tmp_path / "never")


def three(mean: float) -> MetricValue:
    """Three repeats, as many as the row has."""
    return metric_value([mean - 0.1, mean, mean + 0.2])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"rows": {}}, "plugin_metrics.spread.rows"),
        ({"rows": {1: metric_value([1.0])}}, "plugin_metrics.spread.rows.1.values: how many"),
        ({"rows": {1: three(1.0).model_copy(update={"mean": 2.0})}}, "plugin_metrics.spread.rows.1.mean"),
        ({"rows": {1: three(1.0)}, "failure": FAILED}, "plugin_metrics.spread.rows"),
        ({"rows": {1: three(1.0)}}, None),
        ({"rows": {1: three(-4.0)}}, None),
    ],
)
def test_what_a_record_states_of_it_is_checked(changes: dict[str, object], key: str | None) -> None:
    one = with_metric(record(suite_version="0.9", rows=[row(1, 9.0, 0.1)]), 1.0, **changes)
    keys = [p.key for p in problems_of(one, SUITE, MethodRegistry()) if p.key.startswith("plugin")]
    assert keys == ([key] if key else [])
    assert math.isfinite(one.rows[0].metrics["swd"].mean)
