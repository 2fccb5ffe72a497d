"""Self-attention over the positions of an image, with the channel order of EDM's and EDM2's checkpoints.

Channels of the published ``qkv`` layers are interleaved: output 3c + j is part j (q, k or v) of channel c. A
head owns consecutive channels.
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn


class Projection(Protocol):
    """A convolution of size 1."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None


def self_attention(x: Tensor, qkv: Projection, proj: Projection, heads: int) -> Tensor:
    """What the positions of a normalised ``x [B, C, H, W]`` tell each other, projected; same shape.

    Rows of the weights are sorted, not the activations, so that q, k and v are views of one product.
    """
    assert qkv.weight is not None and qkv.bias is not None
    assert proj.weight is not None and proj.bias is not None
    weight = interleaved_rows(qkv.weight.flatten(1)).to(x.dtype)
    bias = interleaved_rows(qkv.bias).to(x.dtype)
    mixed = attend(F.linear(tokens(x), weight, bias).unflatten(2, (3, heads, -1)))
    bias = proj.bias.to(x.dtype)
    return image(F.linear(mixed, proj.weight.flatten(1).to(x.dtype), bias), x)


def interleaved_rows(weight: Tensor) -> Tensor:
    """Rows ``[3 C, ...]`` sorted from channel-major (as published) to q, k, v."""
    return weight.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)


def tokens(x: Tensor) -> Tensor:
    """``[B, C, H, W] -> [B, H W, C]``; a view of channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def image(x: Tensor, like: Tensor) -> Tensor:
    """``[B, H W, C]`` back to the shape of ``like [B, C, H, W]``, in channels-last memory."""
    return x.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def attend(qkv: Tensor) -> Tensor:
    """``[B, L, 3, heads, d] -> [B, L, heads d]`` by torch's fused kernels, which keep no L x L weights."""
    q, k, v = (t.transpose(1, 2) for t in qkv.unbind(2))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
