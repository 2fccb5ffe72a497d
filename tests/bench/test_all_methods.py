"""Every method that ships, through the command line: rows, counted evaluations, needs; and bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from tiny import tiny_suite

from bench.anatomy import anatomies
from bench.api import load
from bench.catalog import METHODS, SHIPPED
from bench.cell import student_cells
from bench.cli import main
from bench.closure import closure_digest
from bench.methods import MethodRegistry, built_in
from bench.record import Record, read_record
from bench.selector import parse_selector
from bench.suite import load_suite

WRAPPED = [f"{m.name}[base={base}]" for m in SHIPPED for base in m.wraps]
SELECTORS = [m.name for m in SHIPPED if not m.wraps] + WRAPPED
SERVED = {"sid": [1], "dmd": [1], "dmd2": [1, 2], "moment_matching": [1, 2], "ddil[base=dmd2]": [1, 2]}
EACH = ("dmd2", "moment_matching", "ddil[base=dmd2]")  # a training for each step count
Finished = Callable[[str], tuple[Path, list[Record]]]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Runs a selector on the tiny suite, once, and gives the folder and the records."""

    @cache
    def run(selector: str) -> tuple[Path, list[Record]]:
        folder = tmp_path_factory.mktemp("run")
        suite = tiny_suite(folder, **{"work = 9_000": "work = 6_000"})
        words = ["--method", selector, "--no-references", "--threads", "1", "--out", str(folder / "runs")]
        few = ["--nfe", "1,2"] if selector in EACH else []
        assert main(["run", "--suite", str(suite), *words, *few]) == 0
        records = [read_record(path) for path in (folder / "runs").glob("*/*/record.json")]
        return folder, sorted(records, key=lambda record: record.rows[0].steps)

    return run


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_method_runs_from_the_command_line(selector: str, finished: Finished) -> None:
    _, records = finished(selector)
    cls = MethodRegistry().resolve(parse_selector(selector))[0].cls
    assert {record.status for record in records} == {"ok"}
    rows = [row for record in records for row in record.rows]
    served = SERVED.get(selector, [1, 2, 4, 8])
    assert [row.steps for row in rows] == served
    assert [(row.nfe, row.nfe_by_role) for row in rows] == [(n, {"student": float(n)}) for n in served]
    for record in records:
        assert record.needs == [need for need, used in asdict(cls.needs).items() if used]
        assert record.method == cls.name and record.paper == cls.paper
        assert record.cost is not None and record.cost.iterations > 10


@pytest.mark.parametrize("selector", EACH)
def test_a_training_for_each_step_count(selector: str, finished: Finished) -> None:
    _, records = finished(selector)
    name, _, inner = selector.rstrip("]").partition("[")
    options = f"{inner}," if inner else ""
    assert [record.label for record in records] == [f"{name}[{options}steps={n}]" for n in (1, 2)]
    assert [[row.steps for row in record.rows] for record in records] == [[1], [2]]


def test_pairs_are_paid_for_out_of_the_budget(finished: Finished) -> None:
    (record,) = finished("dmd")[1]
    assert record.config["pairs"] == 64 and record.cost is not None
    pairs = 64 * (2 * record.config["pair_steps"] - 1)
    assert record.cost.work == pairs + (record.cost.iterations - 2) * 32 * 11
    assert record.cost.units_by_role["teacher"] == pairs + (record.cost.iterations - 2) * 32


def test_a_wrapped_row_is_loaded_with_its_base(finished: Finished) -> None:
    folder, (record,) = finished("ddil[base=lcm]")
    loaded = load(folder / "runs" / f"{record.suite}@{record.suite_version}" / record.cell, steps=2)
    assert loaded.sample(5).shape == (5, 2)


def test_a_wrapper_has_its_bases_preset_under_its_own() -> None:
    suite = load_suite("gmm2d")
    (cell,), _ = student_cells(
        suite, MethodRegistry(), ("ddil[base=Consistency-Distillation]",), "quick", (1,), 1
    )
    base, own = suite.methods["lcm"], suite.wrappers["ddil"]
    assert cell.label == "ddil[base=lcm]" and cell.preset is not None
    assert (cell.preset.batch, cell.config.lr) == (base.batch, base.options["lr"])
    assert (cell.config.refresh, cell.config.base) == (own.options["refresh"], "lcm")


def test_source_of_wrapper_and_base_are_both_digested() -> None:
    registry = MethodRegistry()
    found = {
        base: registry.resolve(parse_selector(f"ddil[base={base}]"))[0] for base in METHODS["ddil"].wraps
    }
    assert found["lcm"].closure_sha256 == closure_digest("baselines.ddil", "baselines.lcm")
    alone = {closure_digest(f"baselines.{name}") for name in ("ddil", *found)}
    assert len({method.closure_sha256 for method in found.values()} | alone) == 3 + 4
    assert issubclass(found["dmd2"].cls, built_in("dmd2"))


@pytest.mark.parametrize("name", ["gmm2d", "gmm2d-grid", "digits"])
def test_all_seven_methods_run_without_being_named(name: str) -> None:
    cells, _ = student_cells(load_suite(name), MethodRegistry(), (), "quick", (1, 2), 1)
    assert {cell.method.cls.name for cell in cells if cell.method} == set(METHODS)
    assert "ddil[base=lcm]" in {cell.label for cell in cells}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["ddil"],
            "ddil wraps another method: found no base, expected ddil[base=NAME] with one of progressive",
        ),
        (["ddil[base=lmc]"], "unknown base of ddil 'lmc'; did you mean 'lcm'?"),
        (["ddil[base=sid]"], "unknown base of ddil 'sid'; known: dmd2, lcm, progressive"),
        (["ddil[base=lcm,clip=1]"], "unknown option of ddil 'clip'"),
        (["ddil[base=lcm,start=1+1+0]"], "shares (1.0, 1.0, 0.0) must not be negative and must add up to 1"),
        (["dmd", "--nfe", "2"], "--nfe: dmd does not serve 2 steps; it serves 1"),
        (["lcm", "--nfe", "3"], "--nfe: lcm does not serve 3 steps; it serves 1, 2, 4, 8"),
        (["mm", "--nfe", "3"], "--nfe: mm does not serve 3 steps; it serves 1, 2, 4, 8"),
        (["dmd2[steps=4]", "--nfe", "2"], "--nfe: dmd2[steps=4] does not serve 2 steps; it serves 4"),
        (["dmd2[steps=3]"], "option 'steps': found 3, expected 1, 2, 4 or 8"),
        (["lcm[skip=7]"], "method lcm: fine = 1000 over skip = 7 gives 142.857 intervals; take a skip"),
        (["ddil[base=dmd2,mixed=0.1]"], "option 'mixed': found 0.1, expected less than or equal to 0"),
        (["ddil[base=dmd2]", "--nfe", "16"], "ddil[base=dmd2] does not serve 16 steps; it serves 1, 2, 4, 8"),
    ],
)
def test_bad_input(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "runs")]
    assert main(["run", "--suite", "gmm2d", *out, "--method", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.rglob("record.json"))


def test_too_many_pairs_fail_with_what_to_do(tmp_path: Path) -> None:
    suite = tiny_suite(tmp_path, **{"pairs = 64": "pairs = 10_000"})
    words = ["--method", "dmd", "--no-references", "--threads", "1", "--out", str(tmp_path / "runs")]
    assert main(["run", "--suite", str(suite), *words]) == 1
    (path,) = tmp_path.rglob("record.json")
    failure = read_record(path).failure
    assert failure is not None and "lower the option 'pairs' or 'pair_steps'" in failure.message


@pytest.mark.parametrize("name", METHODS)
def test_info_shows_what_was_counted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", name]) == 0
    out = capsys.readouterr().out
    found = anatomies(name)
    assert len(found) == max(1, len(METHODS[name].wraps))
    for one in found:
        assert one.networks["student"] == one.networks["teacher"] == 203_010
        assert "teacher" in one.frozen and "student" not in one.frozen
        assert f"{one.work[-1]:.4g}" in out and all(f"{role}" in out for role in one.networks)
