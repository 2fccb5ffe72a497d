"""From weight files of the published formats to networks that denoise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_files import ADM, EDM2, NCSNPP, OPENAI, SONG, openai_state, write_edm, write_edm2

from baselines.checkpoints import CheckpointError, read_checkpoint
from baselines.checkpoints.architecture import Architecture, Config, LoRAConfig, Preconditioning
from baselines.checkpoints.denoisers import build_denoiser, load_denoiser, scaling_for
from baselines.checkpoints.layout import expected_shapes
from baselines.checkpoints.openai import AttentionOrder, from_openai
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import BoundaryScaling, Denoiser, EDMScaling
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.diffusion.scalings import IDDPMScaling, OpenAILabels, VEScaling, VPScaling
from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.networks.layers import FourierEmbedding
from baselines.networks.song_unet import SongUNet

EDM = Preconditioning("edm", "ln(sigma)/4")
VARIANCE = replace(ADM, out_channels=6)
NETWORKS = {
    SONG: "SongUNet",
    NCSNPP: "SongUNet",
    ADM: "DhariwalUNet",
    VARIANCE: "DhariwalUNet",
    EDM2: "EDM2UNet",
}


@pytest.mark.parametrize("config", NETWORKS, ids=["song", "ncsnpp", "adm", "variance", "edm2"])
def test_networks_have_the_expected_layout(config: Config) -> None:
    """Two independent derivations of every name, shape and place."""
    net = build_denoiser(Architecture(NETWORKS[config], config, EDM))
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == expected_shapes(config)
    assert list(net.state_dict()) == list(expected_shapes(config))


def test_a_teacher_denoises(tmp_path: Path) -> None:
    state = write_edm(tmp_path / "teacher.pkl")
    net = load_denoiser(read_checkpoint(tmp_path / "teacher.pkl"), torch.bfloat16)
    assert isinstance(net.model, SongUNet) and net.body == torch.bfloat16 and not net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    out = net(torch.zeros(2, 3, 8, 8), 1.0, Cond(label=torch.tensor([0, 3])))
    assert out.dtype == torch.float32 and not out.requires_grad and not torch.equal(out[0], out[1])


def test_a_snapshot_of_edm2_is_widened(tmp_path: Path) -> None:
    state = write_edm2(tmp_path / "snapshot.pkl")
    net = load_denoiser(read_checkpoint(tmp_path / "snapshot.pkl"))
    assert isinstance(net, EDM2Denoiser)
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    assert all(torch.equal(value, state[name].float()) for name, value in net.state_dict().items())


def test_filters_and_frequencies_come_from_the_file(tmp_path: Path) -> None:
    state = write_edm(tmp_path / "ve.pkl", NCSNPP)
    net = load_denoiser(read_checkpoint(tmp_path / "ve.pkl"))
    assert isinstance(net.model, SongUNet) and isinstance(net.model.map_noise, FourierEmbedding)
    assert torch.equal(net.model.map_noise.freqs, state["model.map_noise.freqs"])


@pytest.mark.parametrize("forked", [True, False])
def test_openai_weights_fit(forked: bool) -> None:
    state = from_openai(openai_state(OPENAI, forked), OPENAI, AttentionOrder.NEW)
    net = build_denoiser(Architecture("DhariwalUNet", OPENAI, EDM))
    net.load_state_dict(state)
    assert isinstance(net, Denoiser) and isinstance(net.model, DhariwalUNet)


def test_scalings_are_those_that_files_ask_for() -> None:
    vp = (("beta_d", 19.9), ("beta_min", 0.1), ("M", 500.0), ("epsilon_t", 1e-4))
    iddpm = (("C_1", 0.001), ("C_2", 0.01), ("M", 100.0))
    asked = {
        Preconditioning("edm", "ln(sigma)/4", sigma_data=0.7): EDMScaling(0.7),
        Preconditioning("edm", "250 ln(sigma)", 0.002, 80.0, clip=True): OpenAILabels(EDMScaling()),
        Preconditioning("boundary", "250 ln(sigma)", 0.003, 80.0): OpenAILabels(BoundaryScaling(0.5, 0.003)),
        Preconditioning("vp", "(M-1) t", constants=vp): VPScaling(19.9, 0.1, 500, 1e-4),
        Preconditioning("ve", "ln(sigma/2)", 0.03, 50.0): VEScaling(0.03, 50.0),
        Preconditioning("iddpm", "index", constants=iddpm): IDDPMScaling(0.001, 0.01, 100),
    }
    for form, scaling in asked.items():
        assert scaling_for(form) == scaling


def test_what_is_no_image_network() -> None:
    with pytest.raises(CheckpointError, match="holds a LoRA, expected SongUNet, DhariwalUNet or EDM2UNet"):
        build_denoiser(Architecture("LoRA", LoRAConfig(1, (4,))))
    with pytest.raises(CheckpointError, match="asks for the preconditioning 'epsilon'"):
        scaling_for(Preconditioning("epsilon", "timestep"))
