"""Derivative of a network along a direction in weight space, in forward mode."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel


@torch.no_grad()
def weight_derivative(module: nn.Module, direction: Mapping[str, Tensor], *args: Any) -> Tensor:
    """``J nu``: derivative of ``module(*args)`` along ``direction`` (by parameter name); carries no graph.

    Each product of a forward becomes two more, so it costs about three forwards.
    """
    weights = {name: p.detach() for name, p in module.named_parameters()}
    # the fused attention kernels have no forward derivative
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # torch's own decompositions, loaded at the first call, are scripted
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        return jvp(lambda p: functional_call(module, p, args), (weights,), (dict(direction),))[1]
