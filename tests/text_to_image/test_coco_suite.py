"""``coco2014-30k`` on small files of the published formats: the whole path, offline; and what is refused."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_miniature import CAPTIONS, CLIP, NAME, PICTURES, records_of, smoke
from safetensors.numpy import load_file

from bench.cli import main
from bench.cost.estimate import estimates
from bench.cost.reference import reference_of
from bench.errors import UsageError
from bench.evaluation import evaluator_for
from bench.lab import Lab
from bench.making import generator_of, load_released
from bench.measuring import suite_of
from bench.meter import Meter
from bench.models import released_student
from bench.request import Request, resolve
from bench.suite import load_suite, parse_suite
from metrics.features.clip import load_clip
from metrics.protocols.registry import shipped_protocols

pytestmark = pytest.mark.usefixtures("one_thread", "no_files")


# ---------------------------------------------------------------------- the suite file


@pytest.mark.slow
def test_the_pipeline_is_the_published_one() -> None:
    """Its configs, stated in code, give the 859,520,964 parameters of Stable Diffusion's U-Net."""
    assert reference_of(load_suite(NAME)).parameters == 859_520_964


def test_without_files_everything_that_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", "--suite", NAME, "--offline", "--out", str(tmp_path / "runs")]) == 3
    line = capsys.readouterr().err
    for name in load_suite(NAME).all_assets:
        assert f"{name} (" in line and str(tmp_path / "cache" / "files" / name) in line
    assert not (tmp_path / "runs").exists()
    assert main(["plan", "--suite", NAME, "--method", "lcm", "--nfe", "4"]) == 0
    assert "860 M parameters" in capsys.readouterr().out


def test_only_what_cells_need_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["run", "--suite", NAME, "--offline", "--out", str(tmp_path / "runs"), "--nfe", "1", "--method"]
    missing = {}
    for method in ("dmd2[weights=published]", "sid", "lcm"):
        assert main([*words, method]) == 3
        missing[method] = capsys.readouterr().err
    assert "laion" not in missing["dmd2[weights=published]"]
    assert "dmd2/sd15-gan-resume" in missing["dmd2[weights=published]"]
    assert "captions/laion-6.25" in missing["sid"] and "data/laion-625-pictures" not in missing["sid"]
    assert "data/laion-625-pictures" in missing["lcm"] and "captions/laion-6.25" not in missing["lcm"]


def test_guided_rows_are_planned_at_two_evaluations_a_call() -> None:
    units = {line.cell.label: line.sample_units for line in estimates(resolve(Request(NAME))[1])}
    assert units["teacher[euler]"] == 30_000 * 2 * 50 and units["dpmpp_2m[guidance=8]"] == 30_000 * 2 * 25
    assert units["dmd2[weights=published]"] == 30_000


def test_given_pictures_are_measured_with_given_files() -> None:
    """``bench measure`` takes reference and extractor of embedded suites alone."""
    known = shipped_protocols()
    assert suite_of(known["coco30k-cleanfid256@1"]) is None and suite_of(known["digits@1"]) is not None


def test_presets_say_that_they_are_untuned() -> None:
    suite = load_suite(NAME)
    presets = [*suite.methods.values(), *suite.wrappers.values()]
    assert presets and all(preset.tuning.startswith("untuned") for preset in presets)


def test_info_names_files_and_students(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", NAME]) == 0
    said, suite = capsys.readouterr().out, load_suite(NAME)
    for word in (*suite.own_files, *(one.label for one in suite.published), str(suite.protocol.clip)):
        assert word in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('reference = "data/coco-val2014"\n', "", "found a reference or a published protocol with captions"),
        ('clip = "coco30k-clipvitg14@1"\n', "", "found captions or a protocol of the CLIP score"),
        ("coco30k-clipvitg14@1", "edm-fid50k-train@1", "does not score the images of coco30k-cleanfid256@1"),
        ("coco30k-clipvitg14@1", "coco30k-clipvitg41@1", "did you mean 'coco30k-clipvitg14@1'"),
        ("coco30k-cleanfid256@1", "coco10k-fid512@1", "does not score the images of coco10k-fid512@1"),
        ("curve_samples = 2000", "curve_samples = 40000", "has no captions for 40000 curve samples"),
        ("guidance = 3.0", "guidance = 0.5", "greater than or equal to 1"),
    ],
)
def test_suite_files_that_say_nothing_sensible_are_refused(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    text = (resources.files("bench") / "suites" / f"{NAME}.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "own.toml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=words):
        parse_suite(tmp_path / "own.toml")


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    text = (resources.files("bench") / "suites" / f"{NAME}.toml").read_text(encoding="utf-8")
    for name in ("data/coco-val2014", "captions/laion-6.25", "data/laion-625-pictures", "lcm/lora-sd15"):
        text = text.replace(f'"{name}"', f'"./{Path(name).name}"')
    (tmp_path / "own.toml").write_text(text)
    suite = parse_suite(tmp_path / "own.toml")
    assert suite.reference == str(tmp_path / "coco-val2014") and suite.pipeline is not None
    assert suite.pipeline.data == str(tmp_path / "laion-6.25")
    assert suite.pipeline.pictures == str(tmp_path / "laion-625-pictures")
    assert suite.published[0].file == str(tmp_path / "lora-sd15")


# ---------------------------------------------------------------------- the whole path


def test_a_published_student_from_caption_to_table(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = records_of(
        NAME, tmp_path / "runs", "--method", "dmd2[weights=published]", "--no-references", "--nfe", "1"
    )
    record = found["dmd2[weights=published]"]
    (row,) = record.rows
    assert record.protocol == "coco30k-cleanfid256@1-smoke" and record.kind == "published"
    assert row.nfe == 1 and row.nfe_by_role == {"student": 1.0, "text encoder": 1.0, "autoencoder": 1.0}
    assert row.metrics["fid"].mean > 0 and -1 < row.metrics["clip_score"].mean < 1
    assert row.latency and row.latency.stages_ms and "text encoder" in row.latency.stages_ms
    cut, by = record.notes
    assert cut.startswith("of 10 captions the text encoder cut 1 to 12 tokens, the CLIP of the score 0 to 77")
    assert "coco30k-clipvitg14@1: ViT-g-14 laion2b_s12b_b42k, sha256" in by
    stored = load_file(next((tmp_path / "runs").glob("stages/samples/*/samples.safetensors")))["samples"]
    assert stored.shape == (8, 4, 8, 8) and stored.dtype == np.float32, "latents, not pictures"
    assert len(list((cache / "encodings").glob("*/*.safetensors"))) == 8, "encoded captions are kept"
    assert len(list((cache / "references").glob("*.npz"))) == 1, "so are the statistics"
    assert "CLIP score" in capsys.readouterr().out


@pytest.mark.slow
def test_everything(cache: Path, tmp_path: Path) -> None:
    """All methods, all released students, all references, at 1 and 4 steps."""
    suite, found = load_suite(NAME), records_of(NAME, tmp_path / "runs", "--nfe", "1,4")
    assert {one.label for one in suite.published} <= set(found)
    assert {r.method for r in found.values() if r.kind == "student"} == {*suite.methods, *suite.wrappers}
    for record in found.values():
        assert all({"fid", "clip_score"} <= set(row.metrics) for row in record.rows) and record.notes
    by_nfe = {row.steps: row.nfe for row in found["teacher[euler]"].rows}
    assert by_nfe == {50: 100}, "a guided call takes two evaluations"
    assert len({row.samples_sha256 for record in found.values() for row in record.rows}) == sum(
        len(record.rows) for record in found.values()
    )


@pytest.mark.slow
def test_a_method_trains_on_captioned_pictures(cache: Path, tmp_path: Path) -> None:
    found = records_of(NAME, tmp_path / "runs", "--method", "lcm", "--no-references", "--nfe", "4")
    (record,) = found.values()
    assert record.kind == "student" and record.cost is not None and record.cost.iterations >= 2
    assert [row.steps for row in record.rows] == [4] and {"fid", "clip_score"} <= set(record.rows[0].metrics)


def test_scores_are_those_of_the_protocols(cache: Path) -> None:
    """By hand: decode, round down, Lanczos to 256, clean-fid's features, cosines with the prefix."""
    from PIL import Image

    from metrics.features.nvidia import load_clean
    from metrics.frechet import frechet_distance
    from metrics.moments import Moments
    from metrics.samples.preparation import to_uint8

    evaluator = evaluator_for(smoke())
    latents = np.random.default_rng(0).standard_normal((8, 4, 8, 8)).astype(np.float32)
    found = evaluator.score(latents, 10)
    images = to_uint8(evaluator.model.latents.decode(torch.from_numpy(latents)).numpy(), "truncate")
    scaled = np.stack([
        np.asarray(Image.fromarray(i.transpose(1, 2, 0)).resize((256, 256), Image.Resampling.LANCZOS))
        for i in images
    ]).transpose(0, 3, 1, 2)  # fmt: skip
    files = cache / "files"
    inception = load_clean(files / "inception/nvidia-torchscript/inception-2015-12-05.pt", None, "cpu")
    moments = Moments.of(inception(torch.from_numpy(scaled)).numpy())
    expected = frechet_distance(moments, evaluator.reference_moments(), allow_singular=True)
    assert found["fid"] == pytest.approx(expected, rel=1e-6)
    assert evaluator.reference_moments().count == PICTURES
    weights = files / "clip/openclip-vit-g-14/open_clip_pytorch_model.bin"
    clip = load_clip("clip", "ViT-g-14", "laion2b_s12b_b42k", weights, sha256=None, device="cpu")
    texts, _ = clip.texts([f"A photo depicts {caption}" for caption in CAPTIONS[:8]])
    cosines = torch.cosine_similarity(clip(torch.from_numpy(scaled)), texts)
    assert found["clip_score"] == pytest.approx(float(cosines.mean()), rel=1e-5)
    assert clip.dimension == CLIP["embed_dim"]
    parts = [evaluator.seen(latents[:3], 0), evaluator.seen(latents[3:], 3)]  # as two processes would
    assert evaluator.scores(parts) == pytest.approx(found, rel=1e-5)


def test_real_pictures_go_through_the_autoencoder(cache: Path) -> None:
    """More than there are come again, in the same order; one of them is grey."""
    evaluator = evaluator_for(smoke())
    latents = evaluator.anchor("real", PICTURES + 2, 10)
    assert latents.shape == (PICTURES + 2, 4, 8, 8) and np.array_equal(latents[:2], latents[PICTURES:])
    images, _ = evaluator.real(4, 0)
    assert images.shape == (4, 3, 256, 256) and np.array_equal(images[3, 0], images[3, 2])
    shown = np.concatenate([*evaluator.decoded(latents[:4], 2)])
    assert shown.shape == images.shape and shown.dtype == np.uint8
    with pytest.raises(UsageError, match="unknown anchor 'reel'"):
        evaluator.anchor("reel", 1, 0)


def test_students_are_asked_as_their_authors_ask(cache: Path) -> None:
    """LCM's takes its own guidance scale, whatever the suite's; LoRA and DMD2 take none. All are rescaled."""
    suite = load_suite(NAME)
    lab = Lab.open(smoke())
    noise, cond = lab.inputs(10, range(2), lab.device)
    assert cond.w is None
    cells = resolve(Request(NAME, methods=tuple(one.label for one in suite.published), references=False))[1]
    samples = {}
    for cell in cells:
        meter = Meter()
        with torch.no_grad():
            generator = generator_of(lab, cell, load_released(lab, cell), meter)
            samples[cell.label] = generator.sample(noise, cond, 1)
        assert meter.work() == 2
    assert len({tuple(x.flatten().tolist()) for x in samples.values()}) == 4
    own = suite.published[1].model_copy(update={"guidance": 2.0})
    scaling = lab.space.grid.consistency(lab.space.sigma_data)
    nets = [
        released_student(suite, one, scaling).students[1]
        for one in (suite.published[1], own, suite.published[1])
    ]
    x = lab.space.grid.start(lab.space.sigma_max) * noise.initial()
    one, two, three = (net(x, lab.space.sigma_max, cond) for net in nets)
    assert torch.equal(one, three) and not torch.equal(one, two)
