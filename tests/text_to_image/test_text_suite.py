"""A suite file that names a pipeline folder: its teacher, data and unit of budget; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipeline import write_pipeline

from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.guidance import FixedStrength, GuidedDenoiser, UniformStrength
from baselines.networks.low_rank import LowRank
from bench.cell import reference_cells, student_cells
from bench.cost.reference import reference_of
from bench.errors import AssetError, UsageError
from bench.lab import Lab
from bench.meter import Meter, denoiser_flops
from bench.methods import MethodRegistry
from bench.models import open_teacher, teacher_model
from bench.parts import Pipeline
from bench.suite import Suite, load_suite, parse_suite
from bench.suite_presets import Preset
from bench.text_models import open_text, sampling_condition, strength_of

SIDES = {"sample_size": 16, "cross_attention_dim": 16}  # latents of pictures of 32 x 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline for pictures of the drawn world."""
    return write_pipeline(tmp_path_factory.mktemp("suites") / "drawn", **SIDES)


def suite(folder: Path, **pipeline: object) -> Suite:
    """A shipped suite with a text teacher in place of its own."""
    part = Pipeline(**{"folder": str(folder), "data": "shapes", "guidance": 5.0, **pipeline})
    return load_suite("digits").model_copy(update={"pipeline": part, "teacher": "drawn"})


def test_the_space_is_known_without_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.text_models.open_text_teacher", None)
    model = teacher_model(suite(folder))
    assert model.space.shape == (4, 16, 16) and model.space.text == (12, 16) and model.space.unconditional
    assert reference_of(suite(folder)).flops > 0


def test_the_teacher_with_its_weights(folder: Path) -> None:
    model, net, sha256 = open_teacher(suite(folder, learned=(3.0, 9.0)))
    assert sha256 == open_text(suite(folder, learned=(3.0, 9.0)).pipeline).sha256
    assert reference_of(suite(folder, learned=(3.0, 9.0))).flops == denoiser_flops(
        net, model.space.shape, model.space.blank(1)
    )
    x0, cond = model.draw_for(data_free=False)(0, 1, 3)
    assert x0.shape == (3, 4, 16, 16) and cond.text.shape == (3, 12, 16)
    assert 2 <= cond.w.min() <= cond.w.max() <= 8  # scales less 1
    free = model.draw_for(data_free=True)(0, 1, 3)
    assert free[0].numel() == 0 and torch.equal(free[1].text, cond.text)
    again = model.build()
    again.load_state_dict(net.state_dict())
    guide = model.guide(net)
    assert isinstance(guide, GuidedDenoiser) and guide.model is net.model
    assert torch.isfinite(guide(x0, 1.0, cond)).all()


def test_forms_and_strengths(folder: Path) -> None:
    plain, drawn, thin = (
        suite(folder, **options).pipeline for options in ({}, {"learned": (2, 8)}, {"rank": 2})
    )
    assert strength_of(plain) == FixedStrength(4.0) and strength_of(drawn) == UniformStrength(1.0, 7.0)
    assert teacher_model(suite(folder, guidance=1.0)).guide(open_text(plain).net) is None
    kinds = [any(isinstance(m, LowRank) for m in open_text(p).net.modules()) for p in (plain, drawn, thin)]
    assert kinds == [False, False, True]
    model = open_text(drawn)
    assert model.net.model.strength_width == 256 and open_text(plain).net.model.strength_width == 0
    assert sampling_condition(drawn, model, ["a disc"]).w.tolist() == [4.0]
    assert sampling_condition(plain, model, ["a disc"]).w is None


def test_the_lab_gives_methods_the_guided_teacher(folder: Path) -> None:
    lab = Lab.open(suite(folder))
    meter = Meter()
    teacher = lab.teacher(meter)
    assert teacher.guided is teacher.denoiser and lab.reference_flops > 0
    x0, cond = lab.entry.draw(0, 0, 2)
    teacher.denoiser(x0, 1.0, cond)
    teacher.net(x0, 1.0, cond)
    assert meter.by_role("forwards") == {"teacher": 6} and meter.work() == 6
    plain = Lab.open(load_suite("digits"))
    assert plain.guided is None and plain.teacher(Meter()).denoiser.plain is plain.net


SHIPPED = """folder = "shapes"
data = "shapes"
guidance = 3.0
"""
CELLS = ("lcm", "dmd2", "ddil[base=lcm]")
PART = """folder = "./drawn"
data = "shapes"
guidance = 5.0
"""


@pytest.fixture
def text() -> str:
    """A shipped suite's file."""
    from importlib import resources

    return (resources.files("bench") / "suites" / "shapes.toml").read_text(encoding="utf-8")


def learning(low: float, high: float, asked: float | None = None) -> Preset:
    """Of a method whose students take the scale as an input."""
    return Preset(batch=8, learned=(low, high), asked=asked, tuning="none")


def test_methods_learn_their_own_guidance(folder: Path) -> None:
    """LCM takes the scale as an input, DMD2 learns the suite's; teacher rows and the unit are the suite's."""
    shipped = load_suite("shapes")
    assert shipped.pipeline is not None
    own = shipped.model_copy(update={"pipeline": shipped.pipeline.model_copy(update={"folder": str(folder)})})
    cells, _ = student_cells(own, MethodRegistry(), CELLS, "quick", (4,), 1)
    learned = [cell.suite.pipeline.learned for cell in cells if cell.suite.pipeline]
    assert learned == [shipped.methods["lcm"].learned, None, shipped.methods["lcm"].learned]
    assert len({cell.id for cell in cells}) == 3 and "learned" not in (cells[0].training or {})
    changed = own.teaching(learning(2.0, 3.0))
    assert changed.pipeline.guidance == own.pipeline.guidance
    assert own.teaching(learning(2.0, 3.0, 2.5)).pipeline.guidance == 2.5
    again, _ = student_cells(
        changed.model_copy(update={"methods": {}}), MethodRegistry(), ("dmd2",), "quick", (4,), 1
    )
    assert again[0].spec()["pipeline"] != cells[1].spec()["pipeline"], "guidance is part of a cell"
    lab = Lab.open(own)
    assert lab.of(cells[1].suite) is lab
    other = lab.of(cells[0].suite)
    assert other.reference_flops == lab.reference_flops
    assert lab.inputs(0, range(1), lab.device)[1].w is None
    assert shipped.methods["lcm"].asked != own.pipeline.guidance
    assert other.inputs(0, range(1), lab.device)[1].w.tolist() == [shipped.methods["lcm"].asked - 1]
    assert cells[0].statement()["preset"] == cells[0].training | {
        "learned": list(shipped.methods["lcm"].learned),
        "asked": shipped.methods["lcm"].asked,
    }, "a record states the scales"
    assert cells[1].statement()["preset"] == cells[1].training
    with pytest.raises(ValueError, match="the suite has no pipeline"):
        load_suite("digits").teaching(learning(1.0, 2.0))


def test_what_a_record_states_of_scales_stands_over_the_preset() -> None:
    here = learning(2.0, 8.0, 6.0)
    assert here.restated({"batch": 4, "learned": [2.0, 5.0], "asked": 3.0}) == here.model_copy(
        update={"batch": 4, "learned": (2.0, 5.0), "asked": 3.0}
    )
    assert here.restated(None) == here.restated({"batch": 8}) == here


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"asked": 3.0}, "found asked = 3 without learned"),
        ({"learned": (8.0, 2.0)}, "expected a range of scales from 1 upwards"),
        ({"learned": (2.0, 5.0), "asked": 6.0}, "found asked = 6; expected a scale that is learned, 2 to 5"),
        ({"learned": (2.0, 5.0), "asked": 0.5}, "greater than or equal to 1"),
    ],
)
def test_scales_that_no_student_can_be_asked_for_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Preset(batch=8, tuning="none", **given)


def test_a_lab_is_opened_once_for_each_guidance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its unit is counted on the meta device, and the network stays where it is."""
    counted: list[str] = []

    def noted(net: Denoiser, *given: Any) -> int:
        counted.append(next(net.parameters()).device.type)
        return denoiser_flops(net, *given)

    monkeypatch.setattr("bench.lab.denoiser_flops", noted)
    own, opened = load_suite("shapes"), []
    own = own.model_copy(update={"pipeline": own.pipeline.model_copy(update={"folder": str(folder)})})
    lab = Lab.open(own)
    monkeypatch.setattr("bench.lab.open_teacher", lambda *given: opened.append(given) or open_teacher(*given))
    taught = own.teaching(learning(2.0, 3.0))
    other = lab.of(taught)
    assert lab.of(own.teaching(learning(2.0, 3.0))) is other and len(opened) == 1
    assert lab.of(own.teaching(learning(2.0, 4.0))) is not other and len(opened) == 2
    assert set(counted) == {"meta"} and other.evaluator.pipeline == taught.pipeline
    net = open_text(own.pipeline, "cpu").net  # as it is cached
    assert lab.net is net and lab.reference_flops == denoiser_flops(net, lab.space.shape, lab.space.blank(1))


def test_a_plain_solver_at_another_guidance_scale(folder: Path) -> None:
    shipped = load_suite("shapes")
    own = shipped.model_copy(update={"pipeline": shipped.pipeline.model_copy(update={"folder": str(folder)})})
    rows = {cell.label: cell for cell in reference_cells(own, "quick") if cell.kind == "solver"}
    assert set(rows) == {"euler", "dpmpp_2m", "euler[guidance=1]"}
    lab, found = Lab.open(own), {}
    for label in ("euler", "euler[guidance=1]"):
        meter = Meter()
        noise, cond = lab.inputs(0, range(2), lab.device)
        with torch.no_grad():
            found[label] = lab.generator(rows[label], meter).sample(noise, cond, 2)
        assert meter.work() == (8 if label == "euler" else 4)
    assert not torch.allclose(*found.values())
    ids = [rows[label].id for label in rows]
    assert len(set(ids)) == 3


def test_a_suite_file_names_a_folder_beside_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text.replace(SHIPPED, PART))
    found = parse_suite(tmp_path / "own.toml")
    assert found.pipeline is not None and found.pipeline.folder == str(tmp_path / "drawn")
    with pytest.raises(AssetError, match="drawn: no such file or folder, named in the suite file"):
        teacher_model(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("guidance = 0.5", "greater than or equal to 1"),
        ("guidance = 2\nlearned = [8.0, 2.0]", "expected a range of scales from 1 upwards"),
        ("guidance = 2\nlearned = [2.0, 8.0]\nrank = 4", "a low-rank student learns one scale"),
        ("guidance = 2\nguidence = 2", "guidance"),
    ],
)
def test_parts_that_say_nothing_sensible_are_refused(
    text: str, tmp_path: Path, change: str, words: str
) -> None:
    (tmp_path / "own.toml").write_text(text.replace(SHIPPED, PART.replace("guidance = 5.0", change)))
    with pytest.raises(UsageError, match=words):
        parse_suite(tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("digits", "[protocol]", f"[pipeline]\n{PART}[protocol]", "found a pipeline or captions"),
        ("shapes", f"[pipeline]\n{SHIPPED}", "", "found a pipeline or captions; expected both or none"),
        (
            "digits",
            '[[solver_rows]]\nsolver = "heun"',
            '[[solver_rows]]\nguidance = 2\nsolver = "heun"',
            "no pipeline",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(
    name: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    from importlib import resources

    text = (resources.files("bench") / "suites" / f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "own.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=words):
        parse_suite(tmp_path / "own.toml")


def test_a_folder_of_something_else_is_an_asset_error(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(AssetError, match="no diffusers pipeline folder"):
        teacher_model(suite(tmp_path / "none"))
    lcm = write_pipeline(tmp_path / "lcm", time_cond_proj_dim=16, **SIDES)
    model, net, _ = open_teacher(suite(lcm))
    with pytest.raises(AssetError, match=r"guidance needs a network .* take strength 0 \(guidance scale 1\)"):
        model.guide(net)
