"""LoRA: trained as LCM-LoRA is, written and read in the published namings, equal to peft's."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_pipeline import CAPTIONS, latents, write_pipeline
from torch import nn

from baselines.checkpoints import read_checkpoint
from baselines.networks.low_rank import TARGETS, LowRank, low_rank_state, with_low_rank
from baselines.streams import torch_generator
from baselines.teachers.stable_diffusion import LowRankChange, TextTeacher, open_text_teacher
from baselines.teachers.text_students import load_text_student


@pytest.fixture(scope="module")
def thin(pipeline: Path) -> TextTeacher:
    """The teacher whose students are changes of rank 2."""
    return open_text_teacher(pipeline, form=LowRankChange(2))


def trained(net):  # type: ignore[no-untyped-def]
    """A copy in which the change is not zero any more."""
    net, generator = deepcopy(net), torch_generator(0, "train-noise")
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return net


def test_a_low_rank_student_is_the_teacher_at_step_0(teacher: TextTeacher, thin: TextTeacher) -> None:
    cond = teacher.text(CAPTIONS[:3])
    assert torch.equal(thin.net(latents(3), 2.0, cond), teacher.net(latents(3), 2.0, cond))
    names = [name for name, _ in thin.net.named_parameters()]
    assert names and all(name.endswith((".down.weight", ".up.weight")) for name in names)
    changed = {name for name, layer in thin.net.model.unet.named_modules() if isinstance(layer, LowRank)}
    assert {next(t for t in TARGETS if name.endswith(f".{t}")) for name in changed} == set(TARGETS)


def test_snapshots_hold_the_whole_network(thin: TextTeacher) -> None:
    cond, net = thin.text(CAPTIONS[:2]), trained(thin.net)
    again = thin.build()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(latents(2), 2.0, cond), net(latents(2), 2.0, cond))


def test_a_trained_change_is_read_back_as_a_student(thin: TextTeacher, tmp_path: Path) -> None:
    cond, net = thin.text(CAPTIONS[:2]), trained(thin.net)
    path = tmp_path / "lora.safetensors"
    save_file(low_rank_state(net.model.unet), path)
    assert read_checkpoint(path).kind == "lora"
    student = load_text_student(thin, path)
    found, expected = student(latents(2), 2.0, cond), net(latents(2), 2.0, cond)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - thin.net(latents(2), 2.0, cond)).abs().max() > 0.01


def test_a_file_of_peft_gives_what_peft_computes(teacher: TextTeacher, tmp_path: Path) -> None:
    """LCM-LoRA's recipe: rank 4 of the same layers, scaled by alpha / rank."""
    peft = pytest.importorskip("peft")
    unet = deepcopy(teacher.net.model.unet)
    with torch.random.fork_rng():
        config = peft.LoraConfig(r=4, lora_alpha=4, target_modules=list(TARGETS), init_lora_weights=False)
        unet.add_adapter(config)
    state = peft.utils.get_peft_model_state_dict(unet)
    assert len(state) == len(low_rank_state(shaped(deepcopy(teacher.net.model.unet))))
    path = tmp_path / "peft.safetensors"
    save_file({f"unet.{name}": value.contiguous() for name, value in state.items()}, path)
    text, z, time = teacher.text(CAPTIONS[:2]).text, latents(2), torch.tensor([500.0, 19.0])
    found = load_text_student(teacher, path).model(z, time, text=text)
    torch.testing.assert_close(found, unet.eval()(z, time, text).sample, rtol=1e-4, atol=1e-4)
    assert (found - teacher.net.model(z, time, text=text)).abs().max() > 0.01


def shaped(unet: nn.Module) -> nn.Module:
    with_low_rank(unet, 4, torch_generator(0, "init"))
    return unet


def test_whole_students_are_loaded(teacher: TextTeacher, tmp_path: Path) -> None:
    """DMD2's U-Net without, LCM's with a guidance embedding."""
    cond = replace(teacher.text(CAPTIONS[:2]), w=torch.tensor([2.0, 7.0]))
    for name, width in (("dmd2", None), ("lcm", 16)):
        made = open_text_teacher(write_pipeline(tmp_path / name, time_cond_proj_dim=width))
        net = trained(made.net)
        path = tmp_path / f"{name}.safetensors"
        save_file(net.model.unet.state_dict(), path)
        student = load_text_student(teacher, path)
        asked = cond if width else replace(cond, w=None)
        assert torch.equal(student(latents(2), 5.0, asked), net(latents(2), 5.0, asked))
        assert not any(p.requires_grad for p in student.parameters())


def test_a_network_without_such_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential has none of the layers that LCM-LoRA changes"):
        with_low_rank(nn.Sequential(nn.Linear(2, 2)), 1, torch_generator(0, "init"))
