"""``sdxl-coco10k`` on small files of the published formats: the whole path, offline; and what is refused."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_miniature import CAPTIONS, LONG, PICTURES, XL_NAME, records_of, rewritten, smoke, write_lora
from PIL import Image
from safetensors.numpy import load_file
from tiny_pipeline import edit

from bench.cli import main
from bench.cost.reference import reference_of
from bench.errors import AssetError, UsageError
from bench.evaluation import evaluator_for
from bench.lab import Lab
from bench.making import generator_of, load_released
from bench.meter import Meter
from bench.models import released_student
from bench.report.describe import rows_text
from bench.request import Request, resolve
from bench.suite import load_suite, parse_suite
from bench.suite_presets import SolverRows
from bench.text_models import configs_of
from metrics.captions import read_captions
from metrics.protocols.registry import shipped_protocols

pytestmark = pytest.mark.usefixtures("one_thread", "no_files")


# ---------------------------------------------------------------------- the suite file


@pytest.mark.slow
def test_the_pipeline_is_the_published_one() -> None:
    """Its configs, stated in code, give the 2,567,463,684 parameters of SDXL's U-Net."""
    suite = load_suite(XL_NAME)
    found = reference_of(suite)
    assert (found.parameters, found.frozen_bytes) == (2_567_463_684, 0)
    assert suite.pipeline is not None
    thin = suite.model_copy(update={"pipeline": suite.pipeline.model_copy(update={"rank": 64})})
    changed = reference_of(thin)  # LCM-LoRA's layers: what is trained stands beside what stays
    assert changed.frozen_bytes == found.weight_bytes and 4 * changed.parameters == changed.weight_bytes
    assert changed.weight_bytes < found.weight_bytes / 10


def test_the_stated_pipeline_reads_what_its_encoders_write() -> None:
    pipeline = load_suite(XL_NAME).pipeline
    assert pipeline is not None
    folder = configs_of(pipeline)
    assert (folder.text, folder.pooled, folder.zeros) == ((77, 2048), 1280, True)


def test_files_are_pinned_where_their_digests_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    suite = load_suite(XL_NAME)
    assert suite.protocol.provisional
    assert main(["info", XL_NAME]) == 0
    said = capsys.readouterr().out
    for word in (*suite.own_files, *(one.label for one in suite.published), str(suite.protocol.clip)):
        assert word in said
    assert "coco10k-patchfid299@1" in said
    assert "teacher rows   euler at 50 guided calls (100 evaluations)\n" in said
    assert "dmd2/sdxl-1step, 1 step: guidance 8" in said and "dmd2/sdxl-4step, 4 steps: " in said
    assert len(suite.own_files) == len(set(suite.own_files)), "captions and pictures are one file"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "timestep = 399",
            "timestep = 399\nsteps = [4]",
            r"found timestep and steps \[4\]; expected steps = \[1\]",
        ),
        ("coco10k-clipvitg14@1", "coco30k-clipvitg14@1", "does not score the images of coco10k-fid512@1"),
    ],
)
def test_suite_files_that_say_nothing_sensible_are_refused(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    text = (resources.files("bench") / "suites" / f"{XL_NAME}.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "own.toml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=words):
        parse_suite(tmp_path / "own.toml")


def test_info_says_what_rows_cost() -> None:
    """A guided call takes two evaluations; a call at scale 1, or of a model without guidance, one."""
    suite = load_suite(XL_NAME)
    free = SolverRows(solver="euler", nfe=(1, 2), guidance=1)
    assert rows_text(free, suite) == "euler[guidance=1] at 1, 2 evaluations"
    twice = free.model_copy(update={"guidance": 8.0})
    assert rows_text(twice, suite) == "euler[guidance=8] at 1, 2 guided calls (2, 4 evaluations)"
    one = SolverRows(solver="heun", nfe=(1,))
    assert rows_text(one, suite) == "heun at 1 guided call (2 evaluations)"
    assert rows_text(one, load_suite("gmm2d")) == "heun at 1 evaluation"


def test_timesteps_of_students_are_of_text_to_image_models(tmp_path: Path) -> None:
    text = (resources.files("bench") / "suites" / "imagenet64.toml").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text(text.replace("[[published]]\n", "[[published]]\ntimestep = 399\n", 1))
    with pytest.raises(UsageError, match="a timestep of rows or students, and no pipeline"):
        parse_suite(tmp_path / "own.toml")


# ---------------------------------------------------------------------- the whole path


def test_a_published_student_from_caption_to_table(xl_cache: Path, tmp_path: Path) -> None:
    found = records_of(
        XL_NAME, tmp_path / "runs", "--method", "dmd2[weights=published]", "--no-references", "--nfe", "4"
    )
    record = found["dmd2[weights=published]"]
    (row,) = record.rows
    assert record.protocol == "coco10k-fid512@1-smoke" and record.kind == "published"
    assert row.nfe == 4 and row.nfe_by_role == {"student": 4.0, "text encoder": 1.0, "autoencoder": 1.0}
    assert row.metrics["fid"].mean > 0 and -1 < row.metrics["clip_score"].mean < 1
    assert row.latency and row.latency.stages_ms and row.latency.stages_ms["text encoder"] > 0
    assert record.notes[0].startswith("of 10 captions the text encoder cut 1 to 12 tokens")
    (kept,) = (xl_cache / "encodings").iterdir()
    assert len(list(kept.glob("*.safetensors"))) == 8, "each caption of the block is encoded once"
    assert set(load_file(next(kept.iterdir()))) == {"text", "pooled"}


@pytest.mark.slow
def test_everything(xl_cache: Path, tmp_path: Path) -> None:
    """Both trainings, all released students, all references."""
    suite, found = load_suite(XL_NAME), records_of(XL_NAME, tmp_path / "runs")
    assert {one.label for one in suite.published} <= set(found)
    assert {r.method for r in found.values() if r.kind == "student"} == set(suite.methods)
    assert {row.steps: row.nfe for row in found["teacher[euler]"].rows} == {50: 100}
    for record in found.values():
        assert all({"fid", "clip_score"} <= set(row.metrics) for row in record.rows) and record.notes


def test_each_protocol_cuts_and_scales_the_same_pictures_for_itself(xl_cache: Path) -> None:
    """By hand: FID at 512 pixels, CLIP at 256 of what was decoded, not of what was scaled to 512."""
    from metrics.frechet import frechet_distance
    from metrics.moments import Moments
    from metrics.samples.preparation import to_uint8

    evaluator = evaluator_for(smoke(XL_NAME))
    latents = np.random.default_rng(0).standard_normal((8, 4, 8, 8)).astype(np.float32)
    found = evaluator.score(latents, 10)
    judges = evaluator.judges  # type: ignore[attr-defined]
    images = to_uint8(evaluator.model.latents.decode(torch.from_numpy(latents)).numpy(), "truncate")  # type: ignore[attr-defined]
    scaled = {
        side: torch.from_numpy(
            np.stack([
                np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.LANCZOS))
                for one in images.transpose(0, 2, 3, 1)
            ]).transpose(0, 3, 1, 2)
        )
        for side in (512, 256)
    }  # fmt: skip
    moments = Moments.of(judges.extractor(scaled[512]).numpy())
    expected = frechet_distance(moments, evaluator.reference_moments(), allow_singular=True)
    assert found["fid"] == pytest.approx(expected, rel=1e-6)
    texts, _ = judges.clip.texts([f"A photo depicts {caption}" for caption in CAPTIONS[:8]])
    cosines = torch.cosine_similarity(judges.clip(scaled[256]), texts)
    assert found["clip_score"] == pytest.approx(float(cosines.mean()), rel=1e-5)
    shown = np.concatenate([*evaluator.decoded(latents, 4)])
    assert np.array_equal(shown, scaled[512].numpy()), "metrics of plugins see what the FID sees"
    assert evaluator.anchor("real", PICTURES + 1, 10).shape == (PICTURES + 1, 4, 8, 8)


@pytest.mark.slow
def test_patches_are_scored_under_a_protocol_of_their_own(xl_cache: Path, tmp_path: Path) -> None:
    words = ["--method", "lcm[weights=published]", "--no-references", "--nfe", "1"]
    (record,) = records_of(XL_NAME, tmp_path / "runs", *words, "--protocol", "coco10k-patchfid299@1").values()
    assert record.protocol == "coco10k-patchfid299@1-smoke"
    assert {"fid", "clip_score"} <= set(record.rows[0].metrics)


def test_students_are_asked_as_their_authors_ask(xl_cache: Path) -> None:
    """Four files, four students; the one-step one is asked at timestep 399, and no other is."""
    suite, lab = load_suite(XL_NAME), Lab.open(smoke(XL_NAME))
    noise, cond = lab.inputs(10, range(2), lab.device)
    assert cond.pooled is not None and cond.sizes is not None and cond.w is None
    cells = resolve(Request(XL_NAME, methods=tuple(one.label for one in suite.published), references=False))[
        1
    ]
    samples = {}
    for cell in cells:
        seen: list[int] = []
        student = load_released(lab, cell)
        assert student is not None
        net = next(iter(student.students.values()))
        net.model.unet.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(int(args[1][0])))
        with torch.no_grad():
            samples[cell.label] = generator_of(lab, cell, student, Meter()).sample(
                noise, cond, cell.steps[-1]
            )
        steps = {"dmd2": [999, 749, 499, 249], "lcm": [999, 759, 499, 259]}[cell.label[:4].strip("[")]
        assert seen == ([399] if "1step" in cell.label else steps)
    assert len({tuple(x.flatten().tolist()) for x in samples.values()}) == len(suite.published) == 4


# ---------------------------------------------------------------------- files that do not fit


class Payload:
    """Runs a command where it is unpickled carelessly."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ([], "0 files all_prompts.pkl; expected one"),
        ([CAPTIONS, CAPTIONS], "2 files all_prompts.pkl; expected one"),
        ([{"a": 1}], "all_prompts.pkl holds dict, expected a list of captions"),
        ([[*CAPTIONS, 7]], "expected a list of captions"),
        ([[*CAPTIONS, " "]], "is empty; expected a caption"),
        ([CAPTIONS], "9 captions for the 10 images of coco10k-fid512@1"),
        ([[*CAPTIONS, Payload()]], "which is not allowed"),
    ],
)
def test_a_list_of_captions_that_is_none(
    lists: list[object], words: str, xl_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rewritten(next((xl_cache / "files" / "data/coco10k-dmd2").iterdir()), *lists)
    with pytest.raises(AssetError, match=words):
        evaluator_for(smoke(XL_NAME)).captions(range(1))  # type: ignore[attr-defined]
    assert not (tmp_path / "ran").exists()


def test_captions_of_a_zip_and_its_digest(xl_cache: Path) -> None:
    path = next((xl_cache / "files" / "data/coco10k-dmd2").iterdir())
    law = shipped_protocols()["coco10k-fid512@1"]
    assert read_captions(path, law) == [*CAPTIONS, LONG]
    assert law.sampling and law.sampling.prompts
    pinned = law.sampling.prompts.model_copy(update={"sha256": "0" * 64})
    other = law.model_copy(update={"sampling": law.sampling.model_copy(update={"prompts": pinned})})
    with pytest.raises(ValueError, match=r"sha256 found .* captions of another list or order"):
        read_captions(path, other)


def test_a_lora_for_stable_diffusion_is_refused(xl_cache: Path) -> None:
    suite = load_suite(XL_NAME)
    lora = next((xl_cache / "files" / "lcm/lora-sdxl").iterdir())
    (xl_cache / "sd15").mkdir()
    write_lora(xl_cache / "sd15" / lora.name)
    (xl_cache / "sd15" / lora.name).replace(lora)
    with pytest.raises(AssetError, match=f"{lora.name}.*(does not fit|does not have)"):
        released_student(suite, suite.published[0])


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (
            "vae/config.json",
            {"scaling_factor": 0.18215},
            "scales latents by 0.18215, the U-Net was trained on",
        ),
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "v_prediction"},
            "but the U-Net predicts 'eps",
        ),
        ("unet/config.json", {"time_cond_proj_dim": 32}, "part 'unet' cannot be read .*cond_proj"),
        ("model_index.json", {"text_encoder_2": None}, "part 'text_encoder_2' is missing"),
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, "expected only unet, vae"),
    ],
)
def test_a_folder_that_is_not_sdxl(file: str, changes: dict[str, object], words: str, xl_cache: Path) -> None:
    edit(xl_cache / "files" / "sdxl-base-1.0" / file, **changes)
    with pytest.raises(AssetError, match=words):
        Lab.open(smoke(XL_NAME))


def test_captions_are_refused_or_counted_by_both_text_encoders(xl_cache: Path) -> None:
    evaluator = evaluator_for(smoke(XL_NAME))
    assert "the text encoder cut 1 to 12 tokens" in evaluator.notes[0]
    with pytest.raises(ValueError, match="caption 1 of 2 is empty; expected words"):
        evaluator.model.text(["a cat", "  "])  # type: ignore[attr-defined]
