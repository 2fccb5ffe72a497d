"""SDXL's kind of pipeline: two text encoders, pooled captions and sizes; equal to diffusers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from tiny_pipeline import (
    CAPTIONS,
    CONTEXT,
    POOLED,
    SIDE,
    UNET,
    WIDTH,
    XL_UNET,
    XL_WIDTH,
    edit,
    latents,
    unet,
    write_xl_pipeline,
)

from baselines.checkpoints import CheckpointError
from baselines.diffusion.cond import Cond
from baselines.diffusion.guidance import FixedStrength
from baselines.diffusion.samplers import euler
from baselines.diffusion.vp import AtTimestep
from baselines.pairs import Pairs
from baselines.streams import SampleNoise
from baselines.teachers import autoencoder as autoencoder_module
from baselines.teachers.autoencoder import ScaledLatents
from baselines.teachers.stable_diffusion import LowRankChange, StrengthInput, TextTeacher, open_text_teacher
from baselines.teachers.text_students import load_text_student
from bench.meter import Meter, Metered, denoiser_flops

LONG = "a long tale of discs and bars"
PICTURE = 2 * SIDE


@pytest.fixture(scope="module")
def original(xl_pipeline: Path) -> StableDiffusionXLPipeline:
    """The pipeline as diffusers opens it."""
    found = StableDiffusionXLPipeline.from_pretrained(xl_pipeline, add_watermarker=False)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture
def cond(xl: TextTeacher) -> Cond:
    return xl.condition(CAPTIONS[:4])


def added(cond: Cond) -> dict[str, torch.Tensor]:
    """By diffusers' names."""
    assert cond.pooled is not None and cond.sizes is not None
    return {"text_embeds": cond.pooled, "time_ids": cond.sizes}


# what the network is given


def test_captions_are_encoded_as_by_the_pipeline(
    xl: TextTeacher, original: StableDiffusionXLPipeline
) -> None:
    captions = [*CAPTIONS[:3], LONG]
    text, free, pooled, free_pooled = original.encode_prompt(captions, device="cpu")
    found = xl.text(captions)
    torch.testing.assert_close(found.text, text, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-5, atol=1e-6)
    assert found.text.shape == (4, CONTEXT, XL_WIDTH) and found.pooled.shape == (4, POOLED)
    assert torch.equal(xl.text.empty.text[0], free[0]) and torch.equal(
        xl.text.empty.pooled[0], free_pooled[0]
    )
    assert not free.any(), "SDXL was trained with zeros for no caption"
    first, second = xl.text.tokens("cat").ids
    assert first[-1] == 53 and second[-1] == 0, "each is filled up by its own tokenizer"
    assert xl.text.tokens(LONG).cut and LONG in xl.text.cut


def test_the_empty_prompt_may_be_encoded_instead(tmp_path: Path) -> None:
    folder = write_xl_pipeline(tmp_path / "pipe", force_zeros_for_empty_prompt=False)
    original = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    found, (_, free, _, pooled) = open_text_teacher(folder), original.encode_prompt(["a"], device="cpu")
    torch.testing.assert_close(found.text.empty.text, free, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.text.empty.pooled, pooled, rtol=1e-5, atol=1e-6)
    before = found.sha256
    edit(folder / "model_index.json", force_zeros_for_empty_prompt=True)
    assert open_text_teacher(folder).sha256 != before


def test_both_encodings_are_kept_between_runs(xl: TextTeacher, tmp_path: Path) -> None:
    first = xl.text.kept_in(tmp_path)
    first.latest = type(first.latest)()
    made = first(list(CAPTIONS))
    again = xl.text.kept_in(tmp_path)
    again.latest, again.model = type(first.latest)(), torch.nn.Linear(1, 1)  # which no caption fits
    found = again(list(CAPTIONS))
    assert torch.equal(found.text, made.text) and torch.equal(found.pooled, made.pooled)
    with pytest.raises(ValueError, match="caption 1 of 2 is empty"):
        xl.text(["a disc", " "])


def test_sizes_are_those_of_a_whole_picture(xl: TextTeacher, original: StableDiffusionXLPipeline) -> None:
    size = (PICTURE, PICTURE)
    theirs = original._get_add_time_ids(size, (0, 0), size, torch.float32, text_encoder_projection_dim=POOLED)
    assert torch.equal(xl.condition(CAPTIONS[:2]).sizes, theirs.repeat(2, 1)) and xl.side == PICTURE
    space = xl.space
    assert (space.text, space.pooled, space.unconditional) == ((CONTEXT, XL_WIDTH), POOLED, True)
    blank = space.blank(3)
    assert blank.pooled.shape == (3, POOLED) and blank.sizes.shape == (3, 6)


# the network


def test_the_conditional_branch_is_diffusers_network(
    xl: TextTeacher, original: StableDiffusionXLPipeline, cond: Cond
) -> None:
    """Bit for bit, with a guidance embedding too."""
    z, time = latents(4), torch.tensor([999, 500, 19, 0])
    theirs = original.unet(z, time, cond.text, added_cond_kwargs=added(cond)).sample
    assert torch.equal(xl.net.model(z, time.float(), **cond.asked()), theirs)
    wide = open_text_teacher(xl.path, form=StrengthInput(32))
    asked = replace(cond, w=torch.tensor([0.0, 3.0, 7.5, 14.0]))
    assert torch.equal(wide.net.model(z, time.float(), **asked.asked()), theirs)
    sigma = xl.space.grid.scaling.schedule.levels[time].float()  # type: ignore[attr-defined]
    x = z * (1 + sigma[:, None, None, None] ** 2).sqrt()
    estimate = x - sigma[:, None, None, None] * theirs
    torch.testing.assert_close(xl.net(x, sigma, cond), estimate, rtol=1e-5, atol=1e-4)  # 14.6 times rounding
    other = replace(cond, sizes=cond.sizes + 8), replace(cond, pooled=cond.pooled + 1)
    assert all((xl.net(x, sigma, one) - estimate).abs().max() > 1e-3 for one in other), "both are read"


def test_guidance_is_diffusers_formula(
    xl: TextTeacher, original: StableDiffusionXLPipeline, cond: Cond
) -> None:
    z, time = latents(4), torch.tensor([999, 400, 90, 5])
    nothing = {"text_embeds": torch.zeros_like(cond.pooled), "time_ids": cond.sizes}
    free = original.unet(z, time, torch.zeros_like(cond.text), added_cond_kwargs=nothing).sample
    noise = free + 6 * (original.unet(z, time, cond.text, added_cond_kwargs=added(cond)).sample - free)
    sigma = xl.space.grid.scaling.schedule.levels[time].float()[:, None, None, None]  # type: ignore[attr-defined]
    x = z * (1 + sigma**2).sqrt()
    guide = xl.guided(FixedStrength(5.0))
    torch.testing.assert_close(guide(x, sigma.flatten(), cond), x - sigma * noise, rtol=1e-5, atol=2e-4)
    meter = Meter()
    Metered(guide, "teacher", meter)(x, 1.0, cond)
    assert meter.by_role("forwards") == {"teacher": 8}


def test_features_are_those_after_the_middle_block(xl: TextTeacher, cond: Cond) -> None:
    seen = []
    handle = xl.net.model.unet.mid_block.register_forward_hook(lambda module, args, out: seen.append(out))
    xl.net(latents(4), 2.0, cond)
    found = xl.net.features(latents(4), 2.0, cond)
    handle.remove()
    assert torch.equal(found, seen[0])


def test_what_a_network_does_not_read_or_lacks_is_refused(
    xl: TextTeacher, teacher: TextTeacher, cond: Cond
) -> None:
    with pytest.raises(ValueError, match=r"do not fit this network: give Cond\(pooled=\[B, P\], sizes"):
        xl.net(latents(4), 1.0, replace(cond, sizes=None))
    with pytest.raises(ValueError, match="do not fit this network: it reads captions alone"):
        teacher.net(latents(4), 1.0, replace(cond, text=teacher.text(CAPTIONS[:4]).text))


def test_the_same_network_can_be_built_without_weights(xl: TextTeacher) -> None:
    with torch.device("meta"):
        blank = xl.build()
    flops = denoiser_flops(blank, xl.space.shape, xl.space.blank(1, "meta"))
    assert flops == denoiser_flops(xl.net, xl.space.shape, xl.space.blank(1)) > 0
    thin = open_text_teacher(xl.path, form=LowRankChange(2))
    with torch.device("meta"):
        blank = thin.build()
    assert {(n, t.shape) for n, t in blank.state_dict().items()} == {
        (n, t.shape) for n, t in thin.net.state_dict().items()
    }
    assert all(t.is_meta for t in blank.state_dict().values())
    assert denoiser_flops(blank, xl.space.shape, xl.space.blank(1, "meta")) > flops


def test_conditions_are_indexed_joined_and_stored_whole(xl: TextTeacher, cond: Cond) -> None:
    assert cond[1:3].pooled.shape == (2, POOLED) and Cond.join([cond, cond]).sizes.shape == (8, 6)
    null = cond.null(xl.text.empty)
    assert not null.pooled.any() and torch.equal(null.sizes, cond.sizes)
    with pytest.raises(ValueError, match="captions have no null of their own"):
        cond.null(Cond(text=xl.text.empty.text))
    pairs = Pairs(latents(4), latents(4, 1), cond)
    again = Pairs.from_state(pairs.state(), torch.device("cpu")).cond
    assert all(torch.equal(value, getattr(again, name)) for name, value in cond.asked().items())


def test_the_whole_pipeline_gives_the_images_of_diffusers(xl: TextTeacher, xl_pipeline: Path) -> None:
    """Captions, guidance 5, DDIM with 4 trailing steps, autoencoder: theirs ends at timestep 0."""
    original = StableDiffusionXLPipeline.from_pretrained(xl_pipeline, add_watermarker=False)
    original.set_progress_bar_config(disable=True)
    ends = {"timestep_spacing": "trailing", "set_alpha_to_one": False, "clip_sample": False}
    original.scheduler = DDIMScheduler.from_config(original.scheduler.config, **ends)
    noise, captions = SampleNoise(0, range(3), (4, SIDE, SIDE)), list(CAPTIONS[:3])
    options = {"num_inference_steps": 4, "guidance_scale": 5.0, "latents": noise.initial()}
    grid = xl.space.grid
    levels = grid.solver(4)
    levels[-1] = grid.sigma_min
    start = noise.initial() * grid.start(grid.sigma_max)
    found = euler(xl.guided(FixedStrength(4.0)), start, levels, xl.condition(captions))
    found = found / (1 + grid.sigma_min**2) ** 0.5
    theirs = original(captions, output_type="latent", **options).images
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=5e-4)
    pixels = torch.from_numpy(original(captions, output_type="np", **options).images).permute(0, 3, 1, 2)
    torch.testing.assert_close((xl.latents.decode(found) + 1) / 2, pixels, rtol=0, atol=5e-4)


# students


def test_a_one_step_student_is_asked_at_its_own_timestep(
    xl: TextTeacher, original: StableDiffusionXLPipeline, cond: Cond
) -> None:
    """As DMD2 does on SDXL: pure noise, timestep 399, ``(z - sigma F) / alpha``."""
    z, time = latents(4), torch.full((4,), 399)
    noise = original.unet(z, time, cond.text, added_cond_kwargs=added(cond)).sample
    rates = DDIMScheduler.from_config(original.scheduler.config)
    bar = rates.alphas_cumprod[399].double()
    expected = (z.double() - (1 - bar).sqrt() * noise.double()) / bar.sqrt()
    student = xl.net.rescaled(AtTimestep(xl.net.scaling, 399))
    grid = xl.space.grid
    found = student(z * grid.start(grid.sigma_max), grid.sigma_max, cond)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_students_of_one_file_each(xl: TextTeacher, cond: Cond, tmp_path: Path) -> None:
    """DMD2's whole U-Net in fp16, and a LoRA; those of Stable Diffusion are refused."""
    state = {name: value.contiguous().half() for name, value in xl.net.model.unet.state_dict().items()}
    torch.save(state, tmp_path / "dmd2.bin")
    student = load_text_student(xl, tmp_path / "dmd2.bin")
    expected = xl.net(latents(4), 5.0, cond)
    torch.testing.assert_close(student(latents(4), 5.0, cond), expected, rtol=0.05, atol=0.05)
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn2_to_k"
    for name, width in (("own", XL_WIDTH), ("sd15", WIDTH)):
        factors = {
            f"{layer}.lora_down.weight": torch.ones(2, width),
            f"{layer}.lora_up.weight": torch.ones(16, 2),
        }
        save_file({**factors, f"{layer}.alpha": torch.tensor(2.0)}, tmp_path / f"{name}.safetensors")
    changed = load_text_student(xl, tmp_path / "own.safetensors")
    assert (changed(latents(4), 5.0, cond) - expected).abs().max() > 1e-3
    with pytest.raises(CheckpointError, match="does not fit"):
        load_text_student(xl, tmp_path / "sd15.safetensors")
    whole = {name: value.contiguous() for name, value in unet().state_dict().items()}
    save_file(whole, tmp_path / "unet.safetensors")
    with pytest.raises(CheckpointError, match="is for another U-Net than that of"):
        load_text_student(xl, tmp_path / "unet.safetensors")
    thin = open_text_teacher(xl.path, form=LowRankChange(2))
    assert torch.equal(thin.net(latents(4), 5.0, cond), expected)


# folders that do not fit


@pytest.fixture
def folder(xl_pipeline: Path, tmp_path: Path) -> Path:
    """A pipeline to spoil."""
    return Path(shutil.copytree(xl_pipeline, tmp_path / "spoilt"))


def config(part: str, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / part / "config.json", **changes)


def without_weight(folder: Path) -> None:
    path = folder / "text_encoder_2" / "model.safetensors"
    state = load_file(path)
    del state["text_projection.weight"]
    save_file(state, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "part 'text_encoder_2' is missing"),
        (lambda folder: shutil.rmtree(folder / "tokenizer_2"), "part 'tokenizer_2' is missing"),
        (
            lambda folder: edit(folder / "model_index.json", text_encoder_2=["transformers", "T5"]),
            "part 'text_encoder_2' is transformers's T5, expected transformers's CLIPTextModelWithP",
        ),
        (
            lambda folder: edit(folder / "model_index.json", _class_name="StableDiffusionPipeline"),
            "expected only unet, vae, text_encoder, tokenizer, scheduler",
        ),
        (config("unet", **{"addition_embed_type": "image"}), "'image'; expected 'text_time' (SDXL)"),
        (config("unet", cross_attention_dim=WIDTH), f"width {WIDTH}, the text encoders write {XL_WIDTH}"),
        (config("unet", projection_class_embeddings_input_dim=60), "reads 60 numbers beside the timestep"),
        (config("text_encoder_2", max_position_embeddings=77), "the text encoders read 12 and 77 tokens"),
        (config("text_encoder_2", vocab_size=54), "55 words, the text encoder knows 54"),
        (without_weight, "weights are missing, such as text_projection.weight"),
    ],
)  # fmt: skip
def test_a_spoilt_folder_is_refused(folder: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(folder)
    with pytest.raises(ValueError) as caught:
        open_text_teacher(folder)
    assert words in str(caught.value) and str(folder) in str(caught.value)


def test_a_factor_or_prediction_that_is_known_to_be_another(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"scales latents by 0.7, the U-Net was trained on .* 0.13025"):
        open_text_teacher(folder, scaling_factor=0.13025)
    with pytest.raises(
        ValueError, match="prediction_type is 'epsilon', but the U-Net predicts 'v_prediction'"
    ):
        open_text_teacher(folder, prediction="v_prediction")


def test_guidance_of_a_network_without_an_unconditional_branch(folder: Path) -> None:
    """LCM-SDXL's U-Net in the teacher's place."""
    net = unet(**XL_UNET, time_cond_proj_dim=32)
    net.save_pretrained(folder / "unet")
    with pytest.raises(ValueError, match=r"guidance needs a network .* take strength 0"):
        open_text_teacher(folder).guided(FixedStrength(5.0))
    assert (
        json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"]
        == UNET["layers_per_block"]
    )


# memory


def test_attention_is_pytorchs_fused_one(xl: TextTeacher) -> None:
    """Diffusers' default, in the U-Net and in the autoencoder: no matrix of tokens by tokens is kept."""
    for network in (xl.net.model.unet, xl.latents.autoencoder):
        assert {type(one).__name__ for one in network.attn_processors.values()} == {"AttnProcessor2_0"}


def test_large_pictures_are_decoded_in_tiles_of_the_autoencoders_own_size(
    xl: TextTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that is not larger is one tile, bit for bit; a larger one is not what it was."""
    assert not xl.latents.autoencoder.use_tiling
    z = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    whole, large = xl.latents.decode(z[..., :8, :8]), xl.latents.decode(z)
    monkeypatch.setattr(autoencoder_module, "LARGE", 16)
    try:
        tiled = ScaledLatents(xl.latents.autoencoder, 8)
        assert tiled.autoencoder.use_tiling and tiled.autoencoder.use_slicing
        assert torch.equal(tiled.decode(z[..., :8, :8]), whole)
        assert torch.equal(tiled.encode(whole), xl.latents.encode(whole))
        found = tiled.decode(z)
        assert found.shape == large.shape and not torch.equal(found, large)
    finally:
        xl.latents.autoencoder.disable_tiling()
