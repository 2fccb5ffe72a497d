"""State dicts of every published family, LoRAs, files that are no weights, and converted files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from published_files import (
    ADM,
    EDM2,
    OPENAI,
    SONG,
    diffusers_shapes,
    legacy_bytes,
    openai_state,
    random_state,
    write_edm2,
)
from safetensors.torch import save_file
from torch import Tensor

from baselines.checkpoints import CheckpointError, load_converted, merge_lora, read_checkpoint, save_converted
from baselines.checkpoints.architecture import Architecture, DiffusersConfig, LoRAConfig
from baselines.checkpoints.layout import expected_shapes
from baselines.checkpoints.openai import AttentionOrder, from_openai
from baselines.checkpoints.stored import is_current, record_path
from baselines.streams import torch_generator

STUDENT = random_state(expected_shapes(ADM))


def save(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[n], expected[n]) for n in expected)


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_student_of_dmd2(tmp_path: Path, name: str) -> None:
    found = read_checkpoint(save(tmp_path / name, STUDENT))
    assert same({n: found.tensors[n] for n in STUDENT}, STUDENT) and found.architecture.config.label_dim == 5  # type: ignore[union-attr]
    assert (found.kind, found.architecture.network, found.ema_key) == ("edm", "DhariwalUNet", None)
    assert found.licence.commercial is False


def test_torch_files_of_the_old_format_and_nested_ones(tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(legacy_bytes(STUDENT))
    assert same(read_checkpoint(tmp_path / "old.pt").tensors, STUDENT)
    found = read_checkpoint(save(tmp_path / "new.pt", {"ema": STUDENT, "step": 3}))
    assert same(found.tensors, STUDENT) and found.ema_key == "ema"


def test_extras_of_fastgen_are_reported_and_left_out(tmp_path: Path) -> None:
    extras = random_state({"model.logvar_linear.weight": (1, 8), "model.logvar_linear.bias": (1,)})
    found = read_checkpoint(save(tmp_path / "fastgen.pth", STUDENT | extras))
    assert found.extras == tuple(extras) and same(found.tensors, STUDENT)


def test_dmd2_keeps_student_and_guidance_apart(tmp_path: Path) -> None:
    both = {f"feedforward_model.{n}": v for n, v in STUDENT.items()} | {"guidance_model.x": torch.zeros(1)}
    found = read_checkpoint(save(tmp_path / "both.bin", both))
    assert same(found.tensors, STUDENT) and found.extras == ("guidance_model.x",)
    guidance = {f"fake_unet.{n}": v for n, v in STUDENT.items()} | {"karras_sigmas": torch.zeros(3)}
    assert "take pytorch_model.bin" in refused(save(tmp_path / "pytorch_model_1.bin", guidance))


def test_missing_and_unexpected_parameters_are_named(tmp_path: Path) -> None:
    less = {n: v for n, v in STUDENT.items() if n != "model.out_norm.bias"}
    text = refused(save(tmp_path / "a.bin", less | {"model.gate": torch.zeros(1)}))
    assert text.endswith("the file lacks model.out_norm.bias and has unexpected model.gate")
    state = openai_state()
    del state["output_blocks.0.0.in_layers.0.bias"]
    state["extra"] = torch.zeros(1)
    text = refused(save(tmp_path / "cd_a.pt", state))
    assert text.endswith("lacks output_blocks.0.0.in_layers.0.bias and has unexpected extra")
    assert "no published family (a)" in refused(save(tmp_path / "b.pt", {"a": torch.zeros(1)}))
    assert "'b' is no tensor" in refused(save(tmp_path / "c.pt", {"a": torch.zeros(1), "b": 3}))
    lost = {n: v for n, v in STUDENT.items() if "enc.16x16_conv" not in n}
    assert "lacks model.enc.16x16_conv.weight" in refused(save(tmp_path / "d.bin", lost))


@pytest.mark.parametrize(
    ("name", "form"), [("cd_x.pt", "boundary"), ("ct_x.pt", "boundary"), ("edm_x_ema.pt", "edm")]
)
def test_openai_files_by_their_published_names(tmp_path: Path, name: str, form: str) -> None:
    found = read_checkpoint(save(tmp_path / name, openai_state()))
    assert found.architecture.config == OPENAI and list(found.tensors) == list(expected_shapes(OPENAI))
    scaling = found.architecture.preconditioning
    assert scaling is not None and (scaling.form, scaling.time) == (form, "250 ln(sigma)")
    assert found.licence.name == "MIT"


def test_an_openai_file_of_another_name_needs_its_role(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.pt", openai_state())
    assert "state the role (--role)" in refused(path)
    form = read_checkpoint(path, role="student").architecture.preconditioning
    assert form is not None and form.form == "boundary"
    config = read_checkpoint(path, role="teacher", resolution=32).architecture.config
    assert (config.resolution, config.attn_resolutions) == (32, (32, 16))  # type: ignore[union-attr]


def test_openai_weights_under_our_names() -> None:
    state = openai_state(forked=False)
    found = from_openai(state, OPENAI, AttentionOrder.NEW)
    assert torch.equal(found["model.map_label.weight"], state["label_emb.weight"].T)
    assert torch.equal(
        found["model.enc.16x16_block0.conv1.bias"], state["input_blocks.1.0.out_layers.3.bias"]
    )
    assert torch.equal(
        found["model.dec.16x16_up.norm0.weight"], state["output_blocks.1.2.in_layers.0.weight"]
    )
    assert torch.equal(found["model.dec.8x8_in1.conv1.bias"], state["middle_block.2.out_layers.3.bias"])
    assert found["model.enc.8x8_down.skip.resample_filter"].flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize("order", AttentionOrder)
def test_attention_takes_the_same_queries_keys_and_values(order: AttentionOrder) -> None:
    """Every head must see the same three matrices, by each side's own way of cutting the rows."""
    heads, depth = 2, 64
    rows = torch.randn(3 * heads * depth, 5, generator=torch_generator(0, "init"))
    if order is AttentionOrder.NEW:
        q, k, v = (part.reshape(heads, depth, 5) for part in rows.chunk(3))
    else:
        q, k, v = rows.reshape(heads, 3 * depth, 5).split(depth, dim=1)
    ours = order.reorder(rows).reshape(heads, depth, 3, 5)  # EDM: [heads, channels, q|k|v]
    for index, theirs in enumerate((q, k, v)):
        assert torch.equal(ours[:, :, index], theirs)


def test_a_unet_of_diffusers_and_an_lcm(tmp_path: Path) -> None:
    plain, lcm = random_state(diffusers_shapes()), random_state(diffusers_shapes(cond=256))
    found = read_checkpoint(save(tmp_path / "a.safetensors", plain))
    assert (found.kind, found.architecture.config) == ("diffusers", DiffusersConfig(4, 4, (8,), 6, 0, 0))
    found = read_checkpoint(save(tmp_path / "b.safetensors", lcm))
    assert (found.kind, found.architecture.config) == ("lcm", DiffusersConfig(4, 4, (8,), 6, 256, 0))
    del lcm["conv_norm_out.weight"]
    assert "lacks conv_norm_out.weight" in refused(save(tmp_path / "c.safetensors", lcm))


LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = "lora_unet_" + LAYER.replace(".", "_")
NAMINGS = [
    (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
    (f"base_model.model.{LAYER}.lora_A.default.weight", f"base_model.model.{LAYER}.lora_B.default.weight"),
    (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight"),
    (f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"),
]
BASE = random_state(diffusers_shapes())
DOWN, UP = (random_state({"x": shape}, seed)["x"] for seed, shape in ((1, (2, 6)), (2, (8, 2))))


@pytest.mark.parametrize(("down", "up"), NAMINGS)
def test_a_lora_in_every_naming(tmp_path: Path, down: str, up: str) -> None:
    path = save(tmp_path / "lora.safetensors", {down: DOWN, up: UP})
    found = read_checkpoint(path)
    assert (found.kind, found.architecture.config) == ("lora", LoRAConfig(1, (2,)))
    before = {name: value.clone() for name, value in BASE.items()}
    merged = merge_lora(BASE, found.tensors, scale=0.5)
    expected = BASE[f"{LAYER}.weight"] + 0.5 * UP @ DOWN
    assert torch.allclose(merged[f"{LAYER}.weight"], expected, atol=1e-6)
    assert all(merged[name] is BASE[name] for name in BASE if name != f"{LAYER}.weight")
    assert same(BASE, before)


def test_alpha_scales_and_kernels_are_merged_as_matrices() -> None:
    name = "down_blocks.0.resnets.0.conv1"
    down, up = random_state({"d": (2, 8, 3, 3)}, 3)["d"], random_state({"u": (8, 2, 1, 1)}, 4)["u"]
    flat = "lora_unet_" + name.replace(".", "_")
    lora = {
        f"{flat}.lora_down.weight": down,
        f"{flat}.lora_up.weight": up,
        f"{flat}.alpha": torch.tensor(1.0),
    }
    merged = merge_lora(BASE, lora)[f"{name}.weight"]
    change = torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down) / 2
    assert torch.allclose(merged, BASE[f"{name}.weight"] + change, atol=1e-5)


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        (
            {"unet.a.lora_A.weight": DOWN, "unet.a.lora_B.weight": UP},
            "changes a, which the base network does not",
        ),
        ({NAMINGS[0][0]: DOWN}, f"no matching pair of factors for unet.{LAYER}"),
        ({NAMINGS[0][0]: DOWN[:1], NAMINGS[0][1]: UP}, "no matching pair"),
        ({NAMINGS[0][0]: DOWN[:, :3], NAMINGS[0][1]: UP}, f"does not fit {LAYER}.weight of shape (8, 6)"),
        ({NAMINGS[0][0]: DOWN, NAMINGS[0][1]: UP, "b": DOWN}, "has b, which are no LoRA factors"),
        (
            {"text_encoder.a.lora_A.weight": DOWN, "text_encoder.a.lora_B.weight": UP},
            "no LoRA factors of a UNet",
        ),
        (
            {NAMINGS[3][0]: DOWN, NAMINGS[3][1]: UP, "c.alpha": torch.tensor(1.0)},
            "alpha without factors for c",
        ),
    ],
)
def test_loras_that_do_not_fit(lora: dict[str, Tensor], words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        merge_lora(BASE, lora)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page, not weights"),
        (b"\n  <html><body>404</body></html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "is a Git LFS pointer"),
        (b"", "is empty"),
        (b"weights", "neither a pickle, nor a torch file, nor safetensors"),
        (b"PK\x03\x04 and nothing more", "torch weights cut short or damaged"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "edm.pkl"
    path.write_bytes(content)
    assert words in refused(path)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors", ".pt"])
def test_files_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".pt":
        path.write_bytes(legacy_bytes(STUDENT))
    else:
        save(path, STUDENT)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short or damaged" in refused(path)


def test_a_global_in_a_torch_file_is_named(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("it was run",)

    text = refused(save(tmp_path / "a.pt", {"a": Evil()}))
    assert "asks for print beside its weights; nothing of it was run" in text


def test_the_hash_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"sha256 found .*, expected 0000"):
        read_checkpoint(path, sha256="0" * 64)
    with pytest.raises(FileNotFoundError, match="no such weight file"):
        read_checkpoint(tmp_path / "b.pkl")


def test_a_converted_file_is_the_same_checkpoint(tmp_path: Path) -> None:
    write_edm2(tmp_path / "edm2.pkl")
    first, out = read_checkpoint(tmp_path / "edm2.pkl"), tmp_path / "new" / "edm2.safetensors"
    save_converted(first, out, "edm2.pkl")
    second = load_converted(out)
    assert dict(first.tensors).keys() == second.tensors.keys()
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
    for field in ("kind", "architecture", "ema_key", "sha256", "licence", "extras", "latents"):
        assert getattr(first, field) == getattr(second, field), field
    assert second.architecture.config == EDM2
    assert sorted(path.name for path in out.parent.iterdir()) == ["edm2.json", "edm2.safetensors"]
    assert is_current(out, first.sha256) and not is_current(out, "0" * 64)
    assert not is_current(out, first.sha256, {"role": "student"})


def test_a_converted_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    write_edm2(tmp_path / "edm2.pkl")
    out = tmp_path / "a.safetensors"
    save_converted(read_checkpoint(tmp_path / "edm2.pkl"), out, "edm2.pkl")
    blob = out.read_bytes()
    out.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="its record expects"):
        load_converted(out)
    record_path(out).write_text(json.dumps({"format": 0}))
    with pytest.raises(CheckpointError, match="no record of 'bench convert'"):
        load_converted(out)


def test_views_are_stored_as_tensors_of_their_own(tmp_path: Path) -> None:
    state = random_state(expected_shapes(SONG))
    shared = torch.zeros(100)
    state["model.map_layer0.bias"], state["model.map_layer1.bias"] = shared[:32], shared[:32]
    out = tmp_path / "b.safetensors"
    torch.save(state, tmp_path / "a.pt")
    save_converted(read_checkpoint(tmp_path / "a.pt"), out, "a.pt")
    assert load_converted(out).tensors["model.map_layer1.bias"].shape == (32,)


def test_a_record_of_an_architecture_is_read_strictly() -> None:
    plain = Architecture("DhariwalUNet", ADM).as_json()
    assert Architecture.from_json(json.loads(json.dumps(plain))) == Architecture("DhariwalUNet", ADM)
    with pytest.raises(TypeError, match="found"):
        Architecture.from_json(plain | {"config": {"resolution": 3}})
