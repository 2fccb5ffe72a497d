"""Networks of which only a low-rank change is trained (LoRA; Hu et al., 2022), as LCM-LoRA does with U-Nets.

The weights that stay become buffers: whoever trains, averages or saves the parameters of such a network deals
with the change alone, and copies carry the rest along.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from baselines.networks.layers import unset

TARGETS = (  # layers of a U-Net that LCM-LoRA changes, by the end of their names
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2",
    "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj",
)  # fmt: skip


class LowRank(nn.Module):
    """A linear or convolutional layer plus ``(alpha / rank) B A``; B is zero at first.

    Args:
        base: the layer; its weights are frozen.
        rank: inner width; alpha: of the scale, by default the rank.
        generator: of A's first values.
    """

    def __init__(self, base: Any, rank: int, generator: torch.Generator, alpha: float | None = None) -> None:
        super().__init__()
        self.base, self.scale = base, (rank if alpha is None else alpha) / rank
        self.down, self.up = _factors(base, rank)
        fan = self.down.weight[0].numel()
        with torch.no_grad():
            if not self.down.weight.is_meta:  # which has no values to set
                drawn = torch.randn(self.down.weight.shape, generator=generator)
                self.down.weight.copy_(drawn / math.sqrt(fan))
            self.up.weight.zero_()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.base(x, *args, **kwargs) + self.scale * self.up(self.down(x))


def _factors(base: Any, rank: int) -> tuple[Any, Any]:
    """A and B of a layer, values not set."""
    empty = partial(unset, beside=base.weight, bias=False)
    if isinstance(base, nn.Linear):
        return empty(nn.Linear, base.in_features, rank), empty(nn.Linear, rank, base.out_features)
    shape: dict[str, Any] = {"stride": base.stride, "padding": base.padding}
    down = empty(nn.Conv2d, base.in_channels, rank, base.kernel_size, **shape)
    return down, empty(nn.Conv2d, rank, base.out_channels, 1)


def keep_weights(network: nn.Module) -> None:
    """Make buffers of all parameters."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, weight.detach())


def with_low_rank(network: nn.Module, rank: int, generator: torch.Generator) -> None:
    """Let only a change of a given rank of its ``TARGETS`` be trained; what the network computes stays.

    Raises:
        ValueError: the network has no such layers.
    """
    keep_weights(network)
    ends = tuple(f".{target}" for target in TARGETS)
    found = [
        (name, layer)
        for name, layer in network.named_modules()
        if name.endswith(ends) and isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    if not found:
        raise ValueError(f"{type(network).__name__} has none of the layers that LCM-LoRA changes")
    for name, layer in found:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, LowRank(layer, rank, generator))


def low_rank_state(network: nn.Module) -> dict[str, Tensor]:
    """The change as a LoRA file in diffusers' naming: ``unet.LAYER.lora_A.weight``, ``lora_B``, scale 1."""
    state = {}
    for name, layer in network.named_modules():
        if isinstance(layer, LowRank):
            state[f"unet.{name}.lora_A.weight"] = layer.down.weight.detach().clone()
            state[f"unet.{name}.lora_B.weight"] = layer.up.weight.detach() * layer.scale
    return state
