"""What tells NCSN++ from DDPM++ in ``SongUNet``, as small parts with the published names and order.

Source: Song et al. (2021), appendix H; names of the options as in EDM's checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.layers import Conv2d, FourierEmbedding, PositionalEmbedding, like


class InputLayer(Conv2d):
    """A layer through which the input image joins the encoder below the top level."""

    def join(self, x: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
        """Next features and next state of the input branch, from the last ones."""
        raise NotImplementedError


class InputDown(InputLayer):
    """Skip encoder, first half: the image at half its resolution."""

    def join(self, x: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
        return x, self(aux)


class InputSkip(InputLayer):
    """Skip encoder, second half: the image, projected, is added to the features."""

    def join(self, x: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
        return x + self(aux), aux


class InputResidual(InputLayer):
    """Residual encoder: a strided, low-passed convolution of the branch is averaged into the features."""

    def forward(self, x: Tensor) -> Tensor:
        """Kernel first, filter second, padded once for both: borders differ from ``Conv2d``'s order."""
        assert self.weight is not None and self.resample_filter is not None
        reach = (self.resample_filter.shape[-1] - 1) // 2
        x = F.conv2d(x, self.weight.to(x.dtype), padding=self.kernel // 2 + reach)
        taps = self.resample_filter.to(x.dtype).tile(x.shape[1], 1, 1, 1)
        return F.conv2d(x, taps, like(self.bias, x), groups=x.shape[1], stride=2)

    def join(self, x: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
        x = (x + self(aux)) / math.sqrt(2)
        return x, x


Taps = Sequence[int]
InputBranch = Callable[[int, int, Taps], dict[str, InputLayer]]  # (branch, features, filter) -> named layers


def standard_input(aux: int, width: int, taps: Taps) -> dict[str, InputLayer]:
    """The image enters at the top only."""
    return {}


def skip_input(aux: int, width: int, taps: Taps) -> dict[str, InputLayer]:
    """A pyramid of the image, added at each level."""
    down = InputDown(aux, aux, 0, down=True, resample_filter=taps)
    return {"aux_down": down, "aux_skip": InputSkip(aux, width, 1)}


def residual_input(aux: int, width: int, taps: Taps) -> dict[str, InputLayer]:
    """A learnt pyramid, averaged in at each level."""
    return {"aux_residual": InputResidual(aux, width, 3, down=True, resample_filter=taps)}


@dataclass(frozen=True)
class SongVariant:
    """Parts in which the two published networks differ; the default is DDPM++.

    Attributes:
        embedding: of the noise label, built from its width.
        noise_mult: that width, in model channels.
        input_branch: how the image joins the lower levels of the encoder.
        output_pyramid: the decoder gives an image at each level, added up (the "skip" decoder).
        resample_filter: taps of the low-pass filter.
    """

    embedding: Callable[[int], nn.Module] = PositionalEmbedding
    noise_mult: int = 1
    input_branch: InputBranch = standard_input
    output_pyramid: bool = False
    resample_filter: tuple[int, ...] = (1, 1)


DDPMPP = SongVariant()
NCSNPP = SongVariant(FourierEmbedding, 2, residual_input, resample_filter=(1, 3, 3, 1))

EMBEDDINGS: dict[str, Callable[[int], nn.Module]] = {
    "positional": PositionalEmbedding,
    "fourier": FourierEmbedding,
}
ENCODERS: dict[str, InputBranch] = {
    "standard": standard_input,
    "skip": skip_input,
    "residual": residual_input,
}
DECODERS = {"standard": False, "skip": True}

T = TypeVar("T")


def published_variant(
    embedding_type: str = "positional",
    channel_mult_noise: int = 1,
    encoder_type: str = "standard",
    decoder_type: str = "standard",
    resample_filter: Sequence[int] = (1, 1),
) -> SongVariant:
    """The variant that the keywords of a published checkpoint describe.

    Raises:
        ValueError: a name is not one of the published ones.
    """
    return SongVariant(
        _named(EMBEDDINGS, "embedding_type", embedding_type),
        channel_mult_noise,
        _named(ENCODERS, "encoder_type", encoder_type),
        _named(DECODERS, "decoder_type", decoder_type),
        tuple(resample_filter),
    )


def _named(table: Mapping[str, T], keyword: str, name: str) -> T:
    if name not in table:
        raise ValueError(f"SongUNet: {keyword} is {name!r}; expected one of {', '.join(table)}")
    return table[name]
