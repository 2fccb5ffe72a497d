"""Named presets: their files, how a selector takes one, and that nothing else moves."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from baselines.distiller import Needs, Settings
from bench.catalog import METHODS
from bench.cell import Cell, preset_for, student_cells, trainings
from bench.cli import main
from bench.errors import UsageError
from bench.methods import Method, MethodRegistry, built_in, typed_options
from bench.presets import FOLDER, find_preset, named_presets, parse_presets
from bench.selector import parse_selector
from bench.suite import Suite, load_suite

WITH_PRESETS = [name for name in METHODS if named_presets(name, built_in(name).Config)]
EACH = [(name, key) for name in WITH_PRESETS for key in named_presets(name, built_in(name).Config)]
DATA = ("cifar10", "ffhq64", "afhqv2-64", "imagenet64")


def cell(selector: str, suite: str = "digits") -> Cell:
    """The first cell of a selector."""
    return student_cells(load_suite(suite), MethodRegistry(), (selector,), "quick", (1, 2), 1)[0][0]


def test_every_file_belongs_to_a_method_and_is_packaged() -> None:
    files = {Path(item.name) for item in FOLDER.iterdir()}
    assert {path.stem for path in files if path.suffix == ".toml"} == set(WITH_PRESETS)
    assert set(METHODS) - set(WITH_PRESETS) == {"ddil"}  # no source states a setting of its own
    assert {path.stem for path in files if path.suffix == ".md"} == set(METHODS)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "presets/*" in project["tool"]["setuptools"]["package-data"]["bench"]


@pytest.mark.parametrize(("name", "key"), EACH)
def test_a_named_preset_sets_what_a_cell_trains_with(name: str, key: str) -> None:
    preset = find_preset(name, built_in(name).Config, key)
    assert key.startswith(DATA) and preset.source
    found = cell(f"{name}[preset={key}]")
    assert found.label.startswith(f"{name}[preset={key}") and found.preset is not None
    assert (found.preset.batch, found.preset.ema_half_life) == (preset.batch, preset.ema_half_life)
    values = found.config.model_dump(mode="json")
    assert {option: values[option] for option in preset.options} == preset.options
    assert found.id != cell(name).id and preset.source in found.preset.tuning


def test_values_that_the_methods_pages_state() -> None:
    sid = named_presets("sid", built_in("sid").Config)
    assert [p.options["alpha"] for p in sid.values()] == [1.2, 1.2, 1.2, 1.0, 1.2]
    assert sid["imagenet64"].options["lr"] == 4e-6 and sid["imagenet64"].batch == 8192
    assert find_preset("dmd", built_in("dmd").Config, "cifar10-uncond").options["lambda_reg"] == 0.5
    cm = find_preset("lcm", built_in("lcm").Config, "cifar10-uncond")
    assert 0.5 ** (cm.batch / cm.ema_half_life) == pytest.approx(0.9999, abs=1e-9)  # an iteration
    cm = find_preset("lcm", built_in("lcm").Config, "imagenet64")
    assert 0.5 ** (cm.batch / cm.ema_half_life) == pytest.approx(0.999943, abs=1e-9)


def test_options_beside_a_preset_win() -> None:
    found = cell("sid[alpha=1.1,preset=cifar10-cond]")
    assert found.label == "sid[alpha=1.1,preset=cifar10-cond]"
    assert (found.config.alpha, found.config.lr) == (1.1, 1e-5)


def test_a_training_for_each_step_count_keeps_the_preset_in_its_name() -> None:
    cells, _ = student_cells(
        load_suite("gmm2d"), MethodRegistry(), ("mm[preset=imagenet64]",), "quick", (1, 2), 1
    )
    assert [each.label for each in cells] == [f"moment_matching[preset=imagenet64,steps={n}]" for n in (1, 2)]
    assert {each.config.lr for each in cells} == {2e-6}


def test_a_wrapper_takes_the_preset_of_what_it_wraps_under_its_own_options() -> None:
    suite, found = load_suite("digits"), cell("ddil[base=lcm,preset=imagenet64]")
    assert (found.config.fine, found.config.lr) == (39, 8e-6)
    assert found.config.refresh == suite.wrappers["ddil"].options["refresh"]
    assert found.preset is not None and found.preset.batch == 2048


# ------------------------------------------------------------------ without preset=, nothing moves


class FrozenConfig(Settings):
    lr: float = Field(1e-3, description="rate")
    serves: tuple[int, ...] = Field((1, 2), description="step counts")


class FrozenMethod:
    """As much of a method as a cell's identity rests on."""

    name: ClassVar[str] = "frozen"
    needs: ClassVar[Needs] = Needs()
    Config: ClassVar[type[Settings]] = FrozenConfig


def pinned_suite() -> Suite:
    """A suite whose every value is written down here."""
    column = {"key": "swd", "title": "SWD", "better": "lower", "digits": 2, "about": "a distance"}
    protocol: dict[str, Any] = {"id": "pinned@1", "evaluator": "points", "labels": "none", "batch": 5}
    protocol |= {"samples": 10, "repeats": 2, "seed": 5, "curve_samples": 5, "curve_seed": 4}
    preset = {"batch": 32, "ema_half_life": 100, "options": {"lr": 0.01}, "tuning": "none"}
    solver = {"solver": "heun", "nfe": [3]}
    raw: dict[str, Any] = {"name": "pinned", "version": "1.0", "title": "t", "about": "a", "teacher": "gmm2d"}
    raw |= {"primary": "swd", "metrics": [column], "protocol": protocol, "nfe": [1, 2], "anchors": ["real"]}
    raw |= {"teacher_rows": solver, "solver_rows": [solver], "methods": {"frozen": preset}}
    return Suite.model_validate({**raw, "budgets": {"quick": {"work": 1000}}})


@pytest.mark.parametrize(
    ("selector", "label", "expected"),
    [
        ("frozen", "frozen", "d399bb85eaa42ba6"),
        ("frozen[lr=0.5,serves=1]", "frozen[lr=0.5,serves=1]", "47fd676c25393b05"),
    ],
)
def test_ids_of_cells_without_a_named_preset_are_what_they_were(
    selector: str, label: str, expected: str
) -> None:
    """Finished and running trainings are found by these ids."""
    suite, method = pinned_suite(), Method(FrozenMethod, "0" * 64, "1")  # type: ignore[arg-type]
    chosen = parse_selector(selector)
    preset = preset_for(suite, method)
    ((config, options),) = trainings(method, preset, chosen, suite.nfe)
    assert options == chosen.options
    made = Cell(
        suite, chosen.label, "student", (1,), "quick", suite.budget("quick"), 0, method, config, preset
    )
    assert (made.label, made.id) == (label, expected)
    assert set(made.spec()["preset"]) == {"batch", "ema_half_life", "ema_ramp"}


# ------------------------------------------------------------------ bad input

GOOD = (FOLDER / "dmd.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch = 392", "bacth = 392", r"mine\.toml: \[cifar10-cond\]: unknown key 'bacth'; did you mean"),
        ("batch = 392", "batch = 0", r"\[cifar10-cond\]: key 'batch': found 0, expected"),
        ("lambda_reg = 0.25", "lambda_rge = 0.25", r"\.options: unknown key 'lambda_rge'; did you mean"),
        ("clip = 10.0", "clip = -1.0", r"\[cifar10-cond\]\.options: key 'clip': found -1.0, expected"),
        ('["ema_half_life"]', '["ema_half_lif"]', r"'unverified': unknown setting 'ema_half_lif'; did you"),
        ('"yin2024dmd"', '"yin2024dmdd"', r"unknown BibTeX key 'yin2024dmdd'; did you mean"),
        ("iterations = 300_000", "", r"found both or none of 'kimg' and 'iterations', expected one"),
        ("iterations = 300_000", "iterations = 1\nkimg = 1", r"found both or none of 'kimg' and"),
        ("[cifar10-cond]", "[cifar10-cond", r"mine\.toml: not valid TOML"),
    ],
)
def test_a_broken_preset_file_is_explained(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UsageError, match=expected):
        parse_presets(path, built_in("dmd").Config)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("sid[preset=cifar10-con]", "unknown preset of sid 'cifar10-con'; did you mean 'cifar10-cond'?"),
        ("ddil[base=cd,preset=imagenet46]", "unknown preset of lcm 'imagenet46'; did you mean 'imagenet64'?"),
        ("sid[preset=cifar10-cond,alhpa=1]", "unknown option of sid 'alhpa'; did you mean 'alpha'?"),
    ],
)
def test_run_refuses_a_preset_that_is_not_there(
    selector: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--suite", "digits", "--method", selector, "--out", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert not list(tmp_path.iterdir())


def test_a_method_without_presets_says_so() -> None:
    with pytest.raises(UsageError, match="method mine has no named presets: found preset=x; leave it out"):
        find_preset("mine", FrozenConfig, "x")


# ------------------------------------------------------------------ bench info


def test_info_shows_presets_with_source_tuning_and_doubts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "moment_matching"]) == 0
    out = capsys.readouterr().out
    for words in (
        "Presets of papers, as moment_matching[preset=NAME]",
        "lr = 2e-06 (unverified)",
        "variant = alternating, lr",
        "edm2_sCM [salimans2024mm]",
        "What the reproductions do differently\n  - Rate and batch.",
    ):
        assert words in out
    for suite in (load_suite("gmm2d"), load_suite("digits")):
        assert f"tuning: {suite.methods['moment_matching'].tuning}" in out


def test_info_shows_the_guidance_scales_of_students_that_take_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "lcm"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "tuning" in line}
    preset = load_suite("shapes").methods["lcm"]
    assert preset.learned is not None
    low, high = preset.learned
    assert f"learned = {low:g} to {high:g}, asked = {preset.asked}, " in lines[load_suite("shapes").id]
    assert "learned" not in lines[load_suite("digits").id].partition("tuning")[0]


def test_info_of_a_wrapper_shows_tuning_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "ddil"]) == 0
    out, suite = capsys.readouterr().out, load_suite("gmm2d")
    assert f"tuning: {suite.wrappers['ddil'].tuning}" in out
    for base in METHODS["ddil"].wraps:
        assert f"over {base}; tuning: {suite.methods[base].tuning}" in out
        assert f"bench info {base}" in out


@pytest.mark.parametrize("suite", ["shapes", "coco2014-30k", "imagenet512"])
def test_ddil_puts_no_box_around_latents(suite: str) -> None:
    method, selector = MethodRegistry().resolve(parse_selector("ddil[base=lcm]"))
    preset = preset_for(load_suite(suite), method)
    assert typed_options(method, preset.options, selector).reflect == "off"


def test_ddil_over_dmd2_takes_no_mixed_rollouts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--suite", "gmm2d", "--method", "ddil[base=dmd2,mixed=0.5]"]) == 2
    assert "option 'mixed': found 0.5" in capsys.readouterr().err
