"""Activation checkpointing: blocks keep their inputs only, and are run again when their backward pass comes.

It costs a forward more for each backward and changes no number: the same operations run on the same values.
Copies of a network checkpoint as it does. Source: Chen et al., 2016, arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from baselines.networks.layers import UNetBlock
from baselines.networks.magnitude import MPBlock
from baselines.networks.text_unet import TextUNet

BLOCKS = (UNetBlock, MPBlock)


def checkpoint_blocks(network: nn.Module) -> None:
    """Let every block of a network, and of later copies of it, forget its activations.

    Raises:
        ValueError: the network has no such blocks.
    """
    blocks = [block for block in network.modules() if isinstance(block, BLOCKS)]
    pipelines = [one for one in network.modules() if isinstance(one, TextUNet)]
    if not blocks and not pipelines:
        raise ValueError("this network has no blocks whose activations could be made again; it is small")
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    for one in pipelines:
        one.unet.enable_gradient_checkpointing()


def checkpoints(network: nn.Module) -> bool:
    """Whether the blocks of a network forget their activations."""
    return any(
        forgets(one) if isinstance(one, BLOCKS) else getattr(one, "gradient_checkpointing", False)
        for one in network.modules()
    )


def forgets(block: nn.Module) -> bool:
    """Whether ``checkpoint_blocks`` let this block forget its activations."""
    own = vars(block).get("forward")
    return isinstance(own, partial) and own.func is checkpoint


def computes(block: Any) -> Callable[..., Any]:
    """What a block computes, without what forgets its activations."""
    found: Callable[..., Any] = block.forward.args[0] if forgets(block) else block.forward
    return found


def let_compute(block: Any, function: Callable[..., Any]) -> None:
    """Put a function in the place of what a block computes; activations are forgotten as before."""
    forgetting = forgets(block)
    block.forward = partial(checkpoint, function, **block.forward.keywords) if forgetting else function
