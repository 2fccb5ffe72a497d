"""Networks that commands of ours train, from the files that ship or others of their kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from metrics.features.digest import checked_digest, misfit, recorded_digest


def own_network(
    name: str, weights: Path, sha256: str | None, wanted: str, build: Callable[[Mapping[str, Tensor]], Any]
) -> tuple[Any, str]:
    """A network with its weights in fp32, and their digest: ``sha256``, else that of the training's record.

    Args:
        name: of the extractor, wanted: of the network, in errors.
        build: tensors of the file -> a network of their sizes, whose own weights are replaced.

    Raises:
        ValueError: no such file, another digest, or tensors that do not fit.
    """
    digest = checked_digest(name, weights, sha256 or recorded_digest(weights))
    state = load_file(weights)
    try:
        with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
            network = build(state)
        network.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    except (RuntimeError, KeyError) as error:
        raise misfit(name, weights, wanted, error) from error
    return network, digest
