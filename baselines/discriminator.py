"""Diffusion GAN on the fake score's encoder (DMD2): noisy samples in, one logit out; and its null object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.distiller import Batch, Context, Draws, Network, Space
from baselines.fake_score import SigmaLaw
from baselines.losses import gan_critic_loss, gan_generator_loss
from baselines.networks.layers import Conv2d, GroupNorm, Linear


class StridedConv(Conv2d):
    """Convolution ``[B, in, H, W] -> [B, out, H', W']`` with a stride and zero padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(in_channels, out_channels, kernel)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class ImageHead(nn.Module):
    """Logit ``[B]`` from U-Net features ``[B, C, side, side]``: halved to 4 x 4, to one pixel, to a number.

    At 8 x 8 this is the published ImageNet head, at 32 x 32 that of SDXL; narrow networks have fewer groups.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side > 4:
            layers += [StridedConv(channels, channels, 4, 2, 1), GroupNorm(channels), nn.SiLU()]
            side //= 2
        layers += [StridedConv(channels, channels, side, side, 0), GroupNorm(channels), nn.SiLU()]
        self.layers = nn.Sequential(*layers, Conv2d(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).flatten()  # type: ignore[no-any-return]


class VectorHead(nn.Module):
    """Logit ``[B]`` from features ``[B, C]`` of a network without space."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Linear(width, width), nn.LayerNorm(width), nn.SiLU(), Linear(width, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).flatten()  # type: ignore[no-any-return]


def head_for(features: Tensor) -> nn.Module:
    """The head that fits one sample of encoder features.

    Raises:
        ValueError: features are neither ``[1, C]`` nor square ``[1, C, side, side]``.
    """
    shape = tuple(features.shape)
    if len(shape) == 2:
        return VectorHead(shape[1])
    if len(shape) == 4 and shape[2] == shape[3]:
        return ImageHead(shape[1], shape[2])
    raise ValueError(
        f"no GAN head for encoder features of shape {shape}; expected [B, C] or [B, C, side, side]"
    )


class Adversary(Protocol):
    """What a generator may be trained against besides its scores; ``networks`` are its own trained ones."""

    @property
    def networks(self) -> Sequence[Any]: ...

    def generator_loss(self, x_g: Tensor, cond: Cond, draws: Draws) -> Tensor: ...
    def critic_loss(self, x_g: Tensor, cond: Cond, real: Batch, draws: Draws) -> Tensor: ...


class NoGAN:
    """No adversary: both losses are 0, no data are looked at."""

    networks: Sequence[Any] = ()

    def generator_loss(self, x_g: Tensor, cond: Cond, draws: Draws) -> Tensor:
        return x_g.new_zeros(())

    def critic_loss(self, x_g: Tensor, cond: Cond, real: Batch, draws: Draws) -> Tensor:
        return x_g.new_zeros(())


@dataclass(frozen=True)
class GAN:
    """Discriminator ``l(x) = head(Enc_fake(x + sigma n; sigma, cond))`` with fresh (sigma, n) at every call.

    Attributes:
        fake: network whose encoder is tapped (and trained, in the critic's turn); head: on top of it.
        law: of the noise level.
        generator_weight, critic_weight: factors of the two losses, batch means.
    """

    fake: Network
    head: Any
    law: SigmaLaw
    generator_weight: float
    critic_weight: float

    @property
    def networks(self) -> Sequence[Any]:
        return (self.head,)

    def logits(self, x: Tensor, cond: Cond, draws: Draws) -> Tensor:
        """Logits ``[B]`` of clean samples, noised first; draws are sigma, then noise."""
        sigma = self.law.sample(draws, len(x))
        noisy = x + per_sample(sigma, x) * draws.normal(*x.shape)
        return self.head(self.fake.features(noisy, sigma, cond))  # type: ignore[no-any-return]

    def generator_loss(self, x_g: Tensor, cond: Cond, draws: Draws) -> Tensor:
        """Weighted loss of the generator, scalar; the caller freezes encoder and head."""
        return self.generator_weight * gan_generator_loss(self.logits(x_g, cond, draws)).mean()

    def critic_loss(self, x_g: Tensor, cond: Cond, real: Batch, draws: Draws) -> Tensor:
        """Weighted loss of encoder and head on generated (detached) and as many real samples, in one pass."""
        both = torch.cat([x_g.detach(), real.x0])
        fake_logits, real_logits = self.logits(both, Cond.join([cond, real.cond]), draws).chunk(2)
        return self.critic_weight * gan_critic_loss(fake_logits, real_logits).mean()


def attach_head(fake: Network, space: Space, context: Context, role: str = "head") -> Any:
    """Register a head, under a role of its own, for the encoder features of a network."""
    x = torch.zeros(1, *space.shape, device=context.device)
    with torch.no_grad():
        features = fake.plain.features(x, 1.0, space.blank(1, context.device))
    return context.module(role, head_for(features), features)
