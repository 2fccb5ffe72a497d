"""Reads a published weight file of any known format into names, tensors and what network they need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from baselines.checkpoints.architecture import Architecture
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.licences import Licence
from baselines.checkpoints.naming import naming
from baselines.checkpoints.persistent import read_persistent
from baselines.checkpoints.recognition import Hints, Kind, Recognised, recognise
from baselines.checkpoints.sniff import Format, file_digest, sniff
from baselines.checkpoints.storages import read_numbers
from baselines.checkpoints.unpickle import unpickle

CONTAINERS = ("ema", "state_dict", "model", "net")  # keys under which training code keeps a state dict


@dataclass(frozen=True)
class Latents:
    """EDM2's normalisation of VAE latents, by channel: ``latent * scale + bias``."""

    scale: tuple[float, ...]
    bias: tuple[float, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A published weight file.

    Attributes:
        kind: family of the file.
        tensors: by the names of our networks, on the CPU, in the precision of the file.
        ema_key: key of the file that the weights lay under; None when they lie at its top.
        sha256: of the source file.
        extras: tensors of the file that the network does not take, by name (FastGen's variance head, ...).
        latents: of EDM2's latent networks.
    """

    kind: Kind
    architecture: Architecture
    tensors: dict[str, Tensor]
    ema_key: str | None
    sha256: str
    licence: Licence
    extras: tuple[str, ...] = ()
    latents: Latents | None = None


def read_checkpoint(
    path: Path,
    *,
    sha256: str | None = None,
    proven: str | None = None,
    role: Literal["teacher", "student"] | None = None,
    resolution: int | None = None,
) -> Checkpoint:
    """Read a weight file without executing anything in it.

    Args:
        sha256: digest that the file must have; checked before anything is read.
        proven: digest that a cache has checked since the file last changed; then not taken again.
        role: of OpenAI's consistency files, whose content does not tell; None: by their published names.
        resolution: side of the images of OpenAI's files; None: the one that the published nets have.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: one sentence that names the file and what is wrong with it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    digest = proven or file_digest(path)
    if sha256 is not None and digest != sha256.lower():
        raise CheckpointError(
            f"{path}: sha256 found {digest}, expected {sha256.lower()}; fetch it again, or check its source"
        )
    container, hints = sniff(path), Hints(path.name, role, resolution)
    latents, ema_key = None, None
    if container is Format.PICKLE:
        found = unpickle(path)
        with naming(path):
            network = read_persistent(found)
            recognised, ema_key = network.recognised, network.key
            latents = None if network.latents is None else Latents(*network.latents)
    else:
        state, ema_key = read_state(path, container)
        with naming(path):
            recognised = recognise(state, hints)
    return _checkpoint(recognised, ema_key, digest, latents)


def _checkpoint(found: Recognised, key: str | None, digest: str, latents: Latents | None) -> Checkpoint:
    return Checkpoint(
        found.kind, found.architecture, found.tensors, key, digest, found.licence, found.extras, latents
    )


def read_state(path: Path, container: Format) -> tuple[dict[str, Tensor], str | None]:
    """State dict of a torch or safetensors file, and the key it lay under.

    Raises:
        CheckpointError: the file is damaged, asks for a global, or holds no state dict.
    """
    if container is Format.SAFETENSORS:
        try:
            return load_file(path), None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path}: cut short or damaged, not readable safetensors ({error}); fetch it again"
            ) from None
    with naming(path, "; nothing of it was run and it is not used"):
        found = read_numbers(path)
    key = None
    if isinstance(found, dict):
        key = next((key for key in CONTAINERS if isinstance(found.get(key), dict)), None)
        found = found if key is None else found[key]
    if not isinstance(found, Mapping) or not found:
        raise CheckpointError(f"{path}: a {type(found).__name__} where a state dict is expected")
    if wrong := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path}: {wrong[0]!r} is no tensor; expected a state dict")
    return {str(name): value for name, value in found.items()}, key


def parameter_count(tensors: Mapping[str, Tensor]) -> int:
    """Numbers in all tensors."""
    return sum(math.prod(value.shape) for value in tensors.values())
