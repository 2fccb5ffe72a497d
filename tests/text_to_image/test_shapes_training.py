"""Every part of the models of ``shapes`` trains, resumes to the byte, and is what diffusers loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from baselines.datasets import captioned_scenes
from baselines.datasets.captioned_scenes import CaptionedScenes
from baselines.datasets.images import to_model
from baselines.datasets.scenes import HELD_OUT
from baselines.streams import torch_generator
from baselines.teachers import shapes, shapes_unet, shapes_vae
from baselines.teachers.autoencoder import ScaledLatents
from baselines.teachers.registry import WEIGHTS
from baselines.teachers.resumable import Training
from bench import scorers, shapes_lessons
from bench.cli.teach import parts_of
from bench.errors import UsageError
from bench.shapes_lessons import lesson, write_vocabulary
from bench.teaching import Lesson, teach
from metrics.features import shapes_clip

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"iterations": 3, "batch": 2, "warmup": 1}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioned_scenes, "CHECKED", 8)
    monkeypatch.setattr(shapes_vae, "MEASURED", 256)
    monkeypatch.setattr(scorers, "WHITENED", 128)
    monkeypatch.setattr(shapes_lessons, "TRUSTED_ON", 2)


def begin(part: str, folder: Path) -> Callable[[], Training]:
    """The training of a part with its recipe cut short."""
    return {
        "vae": lambda: shapes_vae.VAETraining(replace(shapes_vae.RECIPE, **SMALL)),
        "unet": lambda: shapes_unet.LatentTraining(folder, replace(shapes_unet.RECIPE, **SMALL)),
        "clip": lambda: scorers.ClipTraining(
            folder / shapes_clip.BYTE_PAIRS.name, replace(scorers.CLIP_RECIPE, **SMALL)
        ),
        "features": lambda: scorers.FeaturesTraining(replace(scorers.FEATURES_RECIPE, **SMALL)),
    }[part]


def short(part: str, folder: Path) -> Lesson:
    return replace(lesson(part, folder), begin=begin(part, folder), every=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with a trained autoencoder and the vocabulary."""
    out = tmp_path_factory.mktemp("shapes")
    write_vocabulary(out, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes_vae, "MEASURED", 256)
        patch.setattr(captioned_scenes, "CHECKED", 8)
        teach(short("vae", out), out / "work", out / "shapes", lambda line: None)
    (out / "shapes" / shapes_clip.BYTE_PAIRS.name).write_bytes(
        (out / shapes_clip.BYTE_PAIRS.name).read_bytes()
    )
    return out / "shapes"


@pytest.mark.parametrize("part", ["vae", "unet", "clip", "features"])
def test_a_killed_training_continues_to_the_byte(part: str, folder: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    said: list[str] = []
    whole = teach(short(part, folder), tmp_path / "a", tmp_path / "whole", said.append)
    assert teach(short(part, folder), tmp_path / "b", tmp_path / "cut", said.append, stop_at=1) == []
    cut = teach(short(part, folder), tmp_path / "b", tmp_path / "cut", said.append)
    assert torch.equal(before, torch.get_rng_state())
    assert any("resumed at iteration 1 of 3" in line for line in said)
    assert len(whole) == len(cut) == (2 if part == "unet" else 1)
    for one, other in zip(whole, cut, strict=True):
        assert one.read_bytes() == other.read_bytes()
        record = json.loads(one.with_suffix(".json").read_text())
        assert record["recipe"]["iterations"] == 3 and record["images"] == 6
        assert record["command"] == f"bench teach --suite shapes --part {part}"
        assert record["history"]["rows"][-1][0] == 3
        stored = {tensor.dtype for tensor in load_file(one).values() if tensor.is_floating_point()}
        assert stored == {torch.float16}


@pytest.mark.parametrize("part", ["vae", "unet", "clip", "features"])
def test_training_learns(part: str, folder: Path) -> None:
    training, losses = begin(part, folder)(), []
    for _ in range(8):
        training.iteration = 0  # one batch, again and again
        losses.append(training.step())
    assert losses[-1] < 0.9 * losses[0]
    found = training.held_out_loss()
    assert found is not None and found > 0


def test_the_folder_is_a_stable_diffusion_pipeline(folder: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    training = begin("unet", folder)()
    for _ in range(2):
        training.step()
    one = replace(short("unet", folder), begin=lambda: training)
    training.iteration = training.recipe.iterations
    teach(one, tmp_path, folder, lambda line: None)
    pipeline = StableDiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    assert pipeline.safety_checker is None
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    record = json.loads((folder / shapes.VAE_FILE).with_suffix(".json").read_text())
    assert pipeline.vae.config.scaling_factor == record["scaling_factor"]
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}

    unet, text = (training.average[name].half().float() for name in ("unet", "text_encoder"))
    tokens = training.tokens(["a red box on a grey background", ""])
    theirs = pipeline.tokenizer(
        ["a red box on a grey background", ""], padding="max_length", return_tensors="pt"
    ).input_ids
    assert torch.equal(tokens, theirs)
    x, steps = (
        torch.randn(2, *shapes.LATENT, generator=torch.Generator().manual_seed(0)),
        torch.tensor([9, 900]),
    )
    with torch.no_grad():
        states = text(tokens).last_hidden_state
        torch.testing.assert_close(pipeline.text_encoder(tokens)[0], states, rtol=0, atol=1e-6)
        wide = (x.double(), steps, states.double())  # in fp32 their memory orders round differently
        found, expected = (deepcopy(net).double()(*wide).sample for net in (pipeline.unet, unet))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
        decoded, own = (
            deepcopy(vae).double().decode(x.double()).sample
            for vae in (pipeline.vae, shapes.load_vae(folder))
        )
        torch.testing.assert_close(decoded, own, rtol=1e-9, atol=1e-10)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a red box", num_inference_steps=2, guidance_scale=3.0, output_type="np").images
    assert images.shape == (1, 32, 32, 3)


def test_latents_of_other_scenes_have_unit_variance() -> None:
    """By the factor that ships, measured on training scenes; these are held out."""
    latents = ScaledLatents(shapes.load_vae(WEIGHTS / "shapes"))
    noise = torch.randn(256, *shapes.LATENT, generator=torch_generator(5, "data"))
    x = latents.encode(to_model(CaptionedScenes(HELD_OUT, 5).rows(0, 256).images), noise)
    assert float(x.std()) == pytest.approx(1, abs=0.05)


def test_captions_are_dropped_at_the_rate_of_the_recipe(folder: Path) -> None:
    training = begin("unet", folder)()
    training.recipe = replace(training.recipe, batch=400)
    seen: list[str] = []
    training.loss = lambda network, batch, captions, generator: seen.extend(captions)  # type: ignore[attr-defined]
    training.batch_loss()
    first = list(seen)
    training.batch_loss()
    assert seen == first * 2 and 20 < first.count("") < 62


def test_models_fit_the_budget_of_sixteen_megabytes() -> None:
    scorers_of = [path for path in shapes_clip.FOLDER.glob("shapes*") if path.is_file()]
    files = [*(path for path in (WEIGHTS / "shapes").rglob("*") if path.is_file()), *scorers_of]
    assert len(files) > 15 and {"shapes.safetensors", "shapes-bpe.txt.gz"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 16 * 2**20


def test_parts_ask_for_what_they_need(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, tmp_path)
    with pytest.raises(ValueError, match=r"missing; train it first: bench teach --suite shapes --part vae"):
        parts_of("shapes")["unet"](tmp_path, tmp_path)


def test_the_command_names_the_parts(tmp_path: Path) -> None:
    from bench.cli.teach import teach as verb

    with pytest.raises(UsageError, match="choose one of vocabulary, vae, unet, clip, features"):
        verb("shapes", None, tmp_path, tmp_path)
    with pytest.raises(UsageError, match="unknown part 'hat'"):
        verb("shapes", "hat", tmp_path, tmp_path)
    verb("shapes", "vocabulary", tmp_path, tmp_path)
    assert (tmp_path / "shapes" / "tokenizer" / "vocab.json").is_file()


def test_without_the_extra_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"pip install 'distillbench\[text\]'"):
        shapes.libraries()
