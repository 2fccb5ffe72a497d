"""SongUNet against the published parameter lists and a second derivation of its forward pass."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.networks.layers import Conv2d, UNetBlock
from baselines.networks.song_unet import SongUNet
from baselines.streams import torch_generator

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "song_unet_digests.json").read_text())
RELEASES = [name for name in PUBLISHED if name != "about"]


def filled(net: torch.nn.Module, scale: float = 0.2) -> Any:
    """The network with every parameter random, so that none is without effect."""
    generator = torch_generator(3, "init")
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator) * scale
    return net.eval()


def small(label_dim: int = 0, **changes: Any) -> SongUNet:
    options: dict[str, Any] = {
        "resolution": 8,
        "channels": 2,
        "label_dim": label_dim,
        "model_channels": 8,
        "channel_mult": (1, 2, 2),
        "num_blocks": 2,
        "attn_resolutions": (4,),
        "dropout": 0.5,
    }
    return filled(SongUNet(**(options | changes)))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(seed, "train-noise"))


@pytest.mark.parametrize("release", RELEASES)
def test_parameters_have_the_published_names_and_shapes(release: str) -> None:
    published = PUBLISHED[release]
    with torch.device("meta"):
        net = Denoiser(SongUNet(**published["network"]), EDMScaling())
    state = net.state_dict()
    lines = "\n".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in state.items())
    assert len(state) == published["tensors"]
    assert sum(p.numel() for p in net.parameters()) == published["parameters"]
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == published["digest"]


class Naive:
    """The network read off its description, from a state dict, with loops."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def linear(self, name: str, x: Tensor) -> Tensor:
        out = torch.einsum("oi,bi->bo", self.state[f"{name}.weight"], x)
        return out + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else out

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        size = weight.shape[-1]
        padded = F.pad(x, [size // 2] * 4)
        out = bias[None, :, None, None].repeat(len(x), 1, *x.shape[2:])
        for i in range(size):
            for j in range(size):
                window = padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
                out = out + torch.einsum("oc,bchw->bohw", weight[:, :, i, j], window)
        return out

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        groups = min(32, x.shape[1] // 4)
        parts = []
        for part in x.chunk(groups, dim=1):
            mean = part.mean((1, 2, 3), keepdim=True)
            variance = ((part - mean) ** 2).mean((1, 2, 3), keepdim=True)
            parts.append((part - mean) / (variance + 1e-6).sqrt())
        return torch.cat(parts, 1) * weight[None, :, None, None] + bias[None, :, None, None]

    def resample(self, name: str, x: Tensor) -> Tensor:
        if name.endswith("_down"):
            return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        if name.endswith("_up"):
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return x

    def attention(self, name: str, x: Tensor) -> Tensor:
        mixed = torch.empty_like(x)
        qkv = self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", x))
        for b, rows in enumerate(qkv):
            q, k, v = (
                rows[part::3].flatten(1) for part in range(3)
            )  # channel c of q, k, v: rows 3c, 3c+1, 3c+2
            weights = torch.einsum("cq,ck->qk", q, k / math.sqrt(len(k))).softmax(1)
            mixed[b] = torch.einsum("qk,ck->cq", weights, v).reshape(x.shape[1:])
        return (x + self.conv(f"{name}.proj", mixed)) / math.sqrt(2)

    def block(self, name: str, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv(f"{name}.conv0", self.resample(name, F.silu(self.norm(f"{name}.norm0", x))))
        h = h + self.linear(f"{name}.affine", emb)[:, :, None, None]
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", h)))
        if f"{name}.skip.weight" in self.state:
            x = self.conv(f"{name}.skip", self.resample(name, x))
        x = (x + h) / math.sqrt(2)
        return self.attention(name, x) if f"{name}.qkv.weight" in self.state else x

    def embedding(self, noise_label: Tensor, label: Tensor | None) -> Tensor:
        width = self.state["map_layer0.weight"].shape[1]
        last = width // 2 - 1
        angles = torch.stack([noise_label * 1e-4 ** (i / last) for i in range(width // 2)], 1)
        emb = torch.cat([angles.sin(), angles.cos()], 1)
        if label is not None:
            classes = self.state["map_label.weight"].shape[1]
            one_hot = torch.zeros(len(label), classes)
            for row, value in enumerate(label.tolist()):
                if value >= 0:
                    one_hot[row, value] = math.sqrt(classes)
            emb = emb + self.linear("map_label", one_hot)
        return F.silu(self.linear("map_layer1", F.silu(self.linear("map_layer0", emb))))

    def __call__(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None) -> Tensor:
        emb = self.embedding(noise_label, label)
        blocks = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in self.state))
        skips: list[Tensor] = []
        for name in (b for b in blocks if b.startswith("enc.")):
            x = self.conv(name, x) if name.endswith("_conv") else self.block(name, x, emb)
            skips.append(x)
        for name in (b for b in blocks if b.startswith("dec.")):
            if "_block" in name:
                x = torch.cat([x, skips.pop()], 1)
            if name.endswith("_aux_norm"):
                x = F.silu(self.norm(name, x))
            else:
                x = self.conv(name, x) if name.endswith("_aux_conv") else self.block(name, x, emb)
        return x


@pytest.mark.parametrize("classes", [0, 5])
def test_forward_equals_a_second_derivation(classes: int) -> None:
    net = small(classes)
    label = torch.tensor([0, 3, -1]) if classes else None
    x, level = noise(3, 2, 8, 8), torch.tensor([-1.5, 0.1, 1.0])
    with torch.no_grad():
        ours, naive = net(x, level, label), Naive(dict(net.state_dict()))(x, level, label)
    assert ours.abs().mean() > 0.05
    torch.testing.assert_close(ours, naive, atol=2e-5, rtol=2e-5)


def test_null_label_is_the_zero_one_hot() -> None:
    net = Denoiser(small(5), EDMScaling())
    x, cond = noise(2, 2, 8, 8), Cond(label=torch.tensor([1, 4]))
    with torch.no_grad():
        null = net(x, 0.7, cond.null())
        assert torch.equal(null, net(x, 0.7, None))
        assert not torch.isclose(null, net(x, 0.7, cond)).all()


def test_results_do_not_depend_on_the_batch() -> None:
    net = Denoiser(small(5), EDMScaling())
    x, sigma, label = noise(5, 2, 8, 8), torch.tensor([0.01, 0.3, 1.0, 5.0, 70.0]), torch.arange(5)
    with torch.no_grad():
        together = net(x, sigma, Cond(label=label))
        for i in range(5):
            alone = net(x[i : i + 1], sigma[i : i + 1], Cond(label=label[i : i + 1]))
            torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("up", [True, False])
def test_box_filter_fast_path_equals_the_filter(up: bool) -> None:
    layer = Conv2d(3, 3, 0, up=up, down=not up)
    x, taps = noise(2, 3, 6, 6), layer.resample_filter
    assert taps is not None and taps.shape == (1, 1, 2, 2)
    kernel = taps.repeat(3, 1, 1, 1)
    if up:
        generic = F.conv_transpose2d(x, kernel * 4, groups=3, stride=2)
    else:
        generic = F.conv2d(x, kernel, groups=3, stride=2)
    torch.testing.assert_close(layer(x), generic, atol=1e-6, rtol=1e-6)


def test_longer_filters_keep_constants_inside() -> None:
    """The [1, 3, 3, 1] filter is normalised in both directions."""
    for up, side in ((True, 12), (False, 3)):
        out = Conv2d(1, 1, 0, up=up, down=not up, resample_filter=(1, 3, 3, 1))(torch.ones(1, 1, 6, 6))
        assert out.shape[-1] == side
        torch.testing.assert_close(out[..., 1:-1, 1:-1], torch.ones(1, 1, side - 2, side - 2))


def test_attention_equals_softmax_by_hand() -> None:
    block = filled(UNetBlock(8, 8, 16, attention=True))
    state = {f"b.{name}": value for name, value in block.state_dict().items()}
    x = noise(2, 8, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(block.attend(x), Naive(state).attention("b", x), atol=1e-6, rtol=1e-5)


def test_dropout_only_in_training() -> None:
    net = small()
    x, level = noise(2, 2, 8, 8), torch.zeros(2)
    with torch.no_grad():
        assert torch.equal(net(x, level), net(x, level))
        with torch.random.fork_rng(devices=[]):
            net.train()
            assert not torch.isclose(net(x, level), net.eval()(x, level)).all()


def test_features_are_the_encoder_output() -> None:
    assert small().features(noise(2, 2, 8, 8), torch.zeros(2)).shape == (2, 16, 2, 2)


def test_initialisation_follows_the_law() -> None:
    """Xavier uniform times the gain, biases zero, last convolutions nearly silent; one stream, one result."""
    first, second = (
        SongUNet(8, 1, model_channels=32).initialise(torch_generator(0, "init")) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    conv = first.enc["8x8_block0"].conv0.weight
    bound = math.sqrt(6 / (9 * (32 + 32)))
    assert conv.abs().max() <= bound
    assert abs(conv.std().item() / (bound / math.sqrt(3)) - 1) < 0.05
    assert first.dec["8x8_aux_conv"].weight.abs().max() < 1e-5
    assert not first.enc["8x8_block0"].conv0.bias.any()
