"""Pipeline folders and files that cannot be used: one clear sentence each."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import edit

from baselines.checkpoints import CheckpointError
from baselines.teachers.stable_diffusion import TextTeacher, open_text_teacher
from baselines.teachers.text_students import load_text_student


@pytest.fixture
def folder(pipeline: Path, tmp_path: Path) -> Path:
    """A pipeline to spoil."""
    return Path(shutil.copytree(pipeline, tmp_path / "spoilt"))


def refused(folder: Path, **options: object) -> str:
    """The sentence with which a folder is refused; it names the folder."""
    with pytest.raises(ValueError) as caught:
        open_text_teacher(folder, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(str(folder)) and "\n" not in message
    return message


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    assert "no diffusers pipeline folder (model_index.json:" in refused(tmp_path)
    (tmp_path / "model_index.json").write_text("[]")
    assert "no JSON object" in refused(tmp_path)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    assert f"part {part!r} is missing; a text teacher needs unet, vae" in refused(folder)
    edit(folder / "model_index.json", **{part: [None, None]})
    assert f"part {part!r} is missing" in refused(folder)


@pytest.mark.parametrize(
    ("part", "found", "words"),
    [
        (
            "unet",
            ["diffusers", "FluxTransformer2DModel"],
            "is diffusers's FluxTransformer2DModel, expected diffusers's UNet2D",
        ),
        ("text_encoder", ["transformers", "T5EncoderModel"], "expected transformers's CLIPTextModel"),
        ("scheduler", ["nowhere", "Own"], "is nowhere's Own"),
        ("text_encoder_2", ["transformers", "CLIPTextModelWithProjection"], "expected only unet, vae"),
    ],
)
def test_a_foreign_part(folder: Path, part: str, found: list[str], words: str) -> None:
    edit(folder / "model_index.json", **{part: found})
    assert f"part {part!r} {words}" in refused(folder) or words in refused(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_in_pickles_are_not_read(folder: Path, part: str) -> None:
    (weights,) = (folder / part).glob("*.safetensors")
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    assert "safetensors" in refused_part(folder, part)


def refused_part(folder: Path, part: str) -> str:
    with pytest.raises(ValueError) as caught:
        open_text_teacher(folder)
    assert part in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_missing_weights_are_not_made_up(folder: Path, part: str) -> None:
    (weights,) = (folder / part).glob("*.safetensors")
    state = load_file(weights)
    name = sorted(state)[3]
    del state[name]
    save_file(state, weights, {"format": "pt"})
    assert "1 weights are missing, such as" in refused_part(folder, part)


def test_a_tokenizer_without_words_or_with_too_many(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", vocab_size=53)
    assert "54 words, the text encoder knows 53" in refused(folder)
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    assert "part 'tokenizer' cannot be read" in refused(folder)


def test_an_autoencoder_with_another_scaling_factor(folder: Path) -> None:
    assert open_text_teacher(folder, scaling_factor=0.7).latents.factor == 0.7
    message = refused(folder, scaling_factor=0.18215)
    assert "scales latents by 0.7, the U-Net was trained on latents scaled by 0.18215" in message
    edit(folder / "vae" / "config.json", shift_factor=0.1)
    assert "the autoencoder has a shift_factor" in refused(folder)


def test_a_scheduler_that_contradicts_the_network(folder: Path) -> None:
    words = "scheduler: prediction_type is 'epsilon', but the U-Net predicts 'v_prediction'"
    assert words in refused(folder, prediction="v_prediction")
    edit(folder / "unet" / "config.json", prediction_type="v_prediction")
    assert words in refused(folder)
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="sample")
    assert "prediction_type is 'sample', expected one of epsilon, v_prediction" in refused(folder)


def test_a_scheduler_without_levels(folder: Path) -> None:
    edit(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    assert "scheduler: rescale_betas_zero_snr: no signal is left" in refused(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_channels": 9}, "the U-Net maps 9 to 4 channels, the latents have 4"),
        ({"cross_attention_dim": 24}, "reads captions of width 24, the text encoder writes 16"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type = 'text_time'; expected captions alone"),
    ],
)
def test_a_network_that_does_not_fit(folder: Path, changes: dict[str, object], words: str) -> None:
    edit(folder / "unet" / "config.json", **changes)
    assert words in refused(folder)


@pytest.mark.parametrize("name", ["diffusers", "transformers"])
def test_a_missing_library(pipeline: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"need {name}, which is not installed; pip install 'distillbench"):
        open_text_teacher(pipeline)


def test_students_for_another_base(teacher: TextTeacher, tmp_path: Path) -> None:
    state = teacher.net.model.unet.state_dict()
    own = {k: v for k, v in state.items() if not k.endswith("cond_proj.weight")}
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    names = [f"unet.{layer}.lora_A.weight", f"unet.{layer}.lora_B.weight"]
    other = f"unet.{layer.replace('blocks.0', 'blocks.7', 1)}.lora_"
    cases = {
        "wide": (dict(zip(names, (torch.ones(2, 640), torch.ones(640, 2)), strict=True)), "does not fit"),
        "deep": (
            {f"{other}A.weight": torch.ones(2, 8), f"{other}B.weight": torch.ones(8, 2)},
            "which the base network does not have",
        ),
        "half": ({**own, "conv_in.weight": torch.ones(16, 4, 3, 3)}, "another U-Net than that of"),
    }
    for name, (tensors, words) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)
        with pytest.raises(CheckpointError, match=words) as caught:
            load_text_student(teacher, path)
        assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load_text_student(teacher, tmp_path / "none.safetensors")


def test_digests_tell_folders_apart(folder: Path, teacher: TextTeacher) -> None:
    assert open_text_teacher(folder).sha256 == teacher.sha256
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "beta_end": 0.013}))
    assert open_text_teacher(folder).sha256 != teacher.sha256
