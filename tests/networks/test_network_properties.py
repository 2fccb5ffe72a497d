"""Precision, compilation, attention, labels and initialisation of the networks, on small configurations."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from published_law import NETWORKS, denoiser, fill, inputs, normal

from baselines.datasets.augment import LABELS
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import BoundaryScaling, Denoiser, EDMScaling
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.diffusion.tangent import weight_derivative
from baselines.networks.attention import self_attention
from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.networks.edm2_unet import EDM2UNet
from baselines.networks.labels import drop_labels
from baselines.networks.layers import Conv2d
from baselines.networks.magnitude import MPConv, mp_cat, mp_silu, mp_sum, normalise_weights
from baselines.networks.song_unet import SongUNet
from baselines.networks.song_variant import NCSNPP
from baselines.streams import torch_generator

FAMILIES = ["ddpmpp-cond-augment", "ncsnpp", "skip-encoder-skip-decoder", "adm", "edm2"]


@pytest.mark.parametrize(
    ("name", "body", "tolerance"),
    [
        *((name, torch.bfloat16, 0.1) for name in FAMILIES),
        *((name, torch.float16, 0.012) for name in FAMILIES[:3]),
        # half-precision convolutions of this width take seconds on a CPU
        *(pytest.param(name, torch.float16, 0.012, marks=pytest.mark.slow) for name in FAMILIES[3:]),
    ],
)
def test_low_precision_bodies(name: str, body: torch.dtype, tolerance: float) -> None:
    """Input, output and weights stay fp32; the raw output is near that of fp32 and not equal to it."""
    net = denoiser(name)
    x, sigma, cond = inputs(name)
    with torch.no_grad():
        full = net.raw(x, sigma, cond)
        net.body = body
        low = net.raw(x, sigma, cond)
    assert low.dtype == torch.float32 and {p.dtype for p in net.parameters()} == {torch.float32}
    difference = (low - full).square().mean().sqrt() / full.square().mean().sqrt()
    assert 0 < difference < tolerance
    net.raw(x, sigma, cond).sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in net.parameters())
    assert net.rescaled(BoundaryScaling()).body == body


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_compiles_as_one_graph(name: str) -> None:
    net = denoiser(name)
    x, sigma, cond = inputs(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer itself
        label = cond.label
        compiled = torch.compile(net.model, backend="eager", fullgraph=True)
        assert torch.equal(compiled(x, sigma, label), net.model(x, sigma, label))
    torch._dynamo.reset()


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("side", [6, 12])
def test_attention_equals_softmax_by_hand(heads: int, side: int) -> None:
    """Few positions and many take different ways."""
    qkv, proj = (fill(Conv2d(16, 16 * parts, 1), parts) for parts in (3, 1))
    x = normal(0, 2, 16, side, side)
    with torch.no_grad():
        rows = torch.einsum("oi,bihw->bohw", qkv.weight[:, :, 0, 0], x) + qkv.bias[:, None, None]
        q, k, v = rows.reshape(2, heads, 16 // heads, 3, side * side).unbind(3)
        weights = torch.einsum("nhcq,nhck->nhqk", q, k / math.sqrt(16 // heads)).softmax(3)
        mixed = torch.einsum("nhqk,nhck->nhcq", weights, v).reshape(x.shape)
        expected = torch.einsum("oi,bihw->bohw", proj.weight[:, :, 0, 0], mixed) + proj.bias[:, None, None]
        for layout in (torch.contiguous_format, torch.channels_last):
            found = self_attention(x.contiguous(memory_format=layout), qkv, proj, heads)
            torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["ddpmpp-many-positions", "adm", "edm2"])
def test_weight_derivative_equals_a_difference(name: str) -> None:
    """Forward derivatives pass through every attention and every normalisation."""
    net = denoiser(name).double()
    x, sigma, cond = inputs(name)
    x, sigma = x.double(), sigma.double()
    direction = {key: normal(9, *p.shape).double() * p.abs().mean() for key, p in net.named_parameters()}
    slope = weight_derivative(net, direction, x, sigma, cond)
    ends = []
    for step in (1e-4, -1e-4):
        moved = {key: p.detach() + step * direction[key] for key, p in net.named_parameters()}
        with torch.no_grad():
            ends.append(torch.func.functional_call(net, moved, (x, sigma, cond)))
    difference = (ends[0] - ends[1]) / 2e-4
    assert (difference - slope).abs().max() <= 1e-5 * slope.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_the_lowest_level_of_the_encoder(name: str) -> None:
    net, options = denoiser(name), NETWORKS[name]["network"]
    x, sigma, cond = inputs(name)
    levels = len(options.get("widths", options.get("channel_mult")))
    width = options["widths"][-1] if "widths" in options else options["model_channels"] * 2
    side = options["resolution"] >> (levels - 1)
    assert net.features(x, sigma, Cond(label=cond.label)).shape == (len(x), width, side, side)


def test_zero_augmentation_is_no_augmentation() -> None:
    net = denoiser("ddpmpp-cond-augment")
    x, sigma, cond = inputs("ddpmpp-cond-augment")
    clean = Cond(label=cond.label)
    with torch.no_grad():
        zeros = net(x, sigma, Cond(label=cond.label, augment=torch.zeros(len(x), LABELS)))
        torch.testing.assert_close(net(x, sigma, clean), zeros, atol=0, rtol=0)
        assert not torch.isclose(net(x, sigma, cond), zeros).all()


def test_hidden_labels() -> None:
    label = torch.arange(2000) % 7
    assert drop_labels(label, 0.3, False) is label and drop_labels(label, 0.0, True) is label
    assert drop_labels(None, 0.3, True) is None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shown = drop_labels(label, 0.3, True)
    assert shown is not None and ((shown == label) | (shown == -1)).all()
    assert (shown == -1).float().mean().item() == pytest.approx(0.3, abs=0.04)


def small(kind: type[Any], **options: Any) -> Any:
    return kind(8, 2, num_blocks=1, attn_resolutions=(4,), **options)


def test_initialisation_of_adm() -> None:
    net = small(DhariwalUNet, label_dim=50, augment_dim=9, model_channels=64, channel_mult=(1, 1))
    again = small(DhariwalUNet, label_dim=50, augment_dim=9, model_channels=64, channel_mult=(1, 1))
    net.initialise(torch_generator(0, "init"))
    again.initialise(torch_generator(0, "init"))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    conv = net.enc["8x8_block0"].conv0
    for p in (conv.weight, conv.bias):
        assert p.abs().max() <= 1 / math.sqrt(64 * 9)
    assert conv.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 64 * 9), rel=0.02)
    assert net.map_label.weight.std().item() == pytest.approx(1.0, rel=0.02)
    for quiet in (net.out_conv, net.enc["8x8_block0"].conv1, net.dec["4x4_in0"].proj, net.map_augment):
        assert not any(p.any() for p in quiet.parameters())


def test_initialisation_draws_frequencies() -> None:
    net = small(SongUNet, model_channels=128, channel_mult=(1,), variant=NCSNPP)
    net.initialise(torch_generator(0, "init"))
    assert net.map_noise.freqs.std().item() == pytest.approx(16, rel=0.2)
    mp = EDM2Denoiser(small(EDM2UNet, widths=(64, 64)), EDMScaling(), uncertainty_channels=4000)
    mp.initialise(torch_generator(0, "init"))
    assert mp.logvar_fourier.freqs.std().item() == pytest.approx(2 * math.pi, rel=0.05)
    assert mp.logvar_fourier.phases.mean().item() == pytest.approx(math.pi, rel=0.05)


def test_magnitudes_are_kept() -> None:
    """Unit normal activations keep their size through every layer of EDM2."""
    a, b = normal(0, 4, 64, 16, 16), normal(1, 4, 32, 16, 16)
    conv = MPConv(64, 48, 3)
    conv.weight.data = normal(2, *conv.weight.shape) * 7
    with torch.no_grad():
        inner = conv(a)[..., 1:-1, 1:-1]
    for out in (inner, mp_silu(a), mp_sum(a, normal(3, *a.shape), 0.3)):
        assert out.square().mean().sqrt().item() == pytest.approx(1, abs=0.03)
    joined = mp_cat(a, b, 0.5)
    first, second = joined[:, :64].square().sum(), joined[:, 64:].square().sum()
    assert (first / second).item() == pytest.approx(1, abs=0.05)
    assert joined.square().mean().sqrt().item() == pytest.approx(1, abs=0.03)


def test_forwards_of_edm2_share_a_backward() -> None:
    """Forced normalisation is a separate act, and changes weights but not what they compute."""
    net = denoiser("edm2").train()
    x, sigma, cond = inputs("edm2")
    before = [p.detach().clone() for p in net.parameters()]
    out = net(x, sigma, cond)
    (out + net(x, sigma, cond.null())).sum().backward()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    normalise_weights(net)
    rows = next(m for m in net.modules() if isinstance(m, MPConv)).weight.flatten(1)
    torch.testing.assert_close(rows.square().mean(1).sqrt(), torch.ones(len(rows)), atol=2e-3, rtol=0)
    torch.testing.assert_close(net(x, sigma, cond), out, atol=2e-3, rtol=2e-3)


def test_rescaled_edm2_keeps_its_uncertainty() -> None:
    net = denoiser("edm2")
    assert isinstance(net, EDM2Denoiser)
    other = net.rescaled(BoundaryScaling())
    sigma = torch.tensor([0.5])
    assert other.unet is net.unet and torch.equal(other.log_variance(sigma), net.log_variance(sigma))
    x = normal(0, 1, 4, 16, 16)
    torch.testing.assert_close(other(x, 0.002, Cond(label=torch.tensor([1]))), x)


def test_a_learnt_variance_is_left_out() -> None:
    net = denoiser("adm-iddpm")
    x, sigma, cond = inputs("adm-iddpm")
    assert isinstance(net, Denoiser) and net.model(x, sigma, cond.label).shape[1] == 6
    assert net.raw(x, sigma, cond).shape == x.shape
