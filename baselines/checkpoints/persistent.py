"""The network inside an unpickled EDM, EDM2 or SiD file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baselines.checkpoints.architecture import Form, Preconditioning
from baselines.checkpoints.arrays import Array
from baselines.checkpoints.errors import CheckpointError, some
from baselines.checkpoints.licences import DERIVED, NVIDIA
from baselines.checkpoints.modules import state_dict
from baselines.checkpoints.recognition import Recognised, edm2_state, edm_state
from baselines.checkpoints.unpickle import Persistent

KEY = "ema"
EDM2 = "Precond"


@dataclass(frozen=True)
class PublishedClass:
    """How a published class preconditions: form, time, and the attributes that it needs beside sigma_*."""

    form: Form
    time: Any
    constants: tuple[str, ...] = ()


CLASSES = {
    "EDMPrecond": PublishedClass("edm", "ln(sigma)/4"),
    EDM2: PublishedClass("edm", "ln(sigma)/4"),
    "VPPrecond": PublishedClass("vp", "(M-1) t", ("beta_d", "beta_min", "M", "epsilon_t")),
    "VEPrecond": PublishedClass("ve", "ln(sigma/2)"),
    "iDDPMPrecond": PublishedClass("iddpm", "index", ("C_1", "C_2", "M")),
}
ATTRIBUTES = {"img_resolution": "resolution", "img_channels": "channels", "label_dim": "label_dim"}
BODIES = {"model": ("SongUNet", "DhariwalUNet"), "unet": ("UNet",)}


@dataclass(frozen=True)
class Network:
    """The recognised network, the key it lay under, and scale and bias of its latents."""

    recognised: Recognised
    key: str
    latents: tuple[tuple[float, ...], tuple[float, ...]] | None


def read_persistent(found: object) -> Network:
    """The network under ``ema``.

    Raises:
        CheckpointError: there is none, its class is not one of the published ones, or its parameters are not.
    """
    if not isinstance(found, Mapping) or KEY not in found:
        keys = some(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise CheckpointError(f"holds no network under {KEY!r} (found: {keys})")
    network = found[KEY]
    name = network.class_name if isinstance(network, Persistent) else type(network).__name__
    if not isinstance(network, Persistent) or name not in CLASSES:
        raise CheckpointError(f"holds a {name} under {KEY!r}, expected one of {', '.join(CLASSES)}")
    body = body_of(network)
    recognise = edm2_state if name == EDM2 else edm_state
    recognised = recognise(
        state_dict(network),
        preconditioning=preconditioning(network),
        dropout=number(body.init_kwargs.get("dropout", 0.0), "dropout"),
        use_fp16=network.state.get("use_fp16") is True,
        licence=NVIDIA if network.noncommercial else DERIVED,
    )
    check_attributes(network, recognised.architecture.config)
    return Network(recognised, KEY, latents_of(found.get("encoder")))


def body_of(network: Persistent) -> Persistent:
    """The U-Net inside a preconditioning."""
    inner, classes = ("unet", BODIES["unet"]) if network.class_name == EDM2 else ("model", BODIES["model"])
    modules = network.state.get("_modules")
    body = modules.get(inner) if isinstance(modules, dict) else None
    name = body.class_name if isinstance(body, Persistent) else type(body).__name__
    if not isinstance(body, Persistent) or name not in classes:
        raise CheckpointError(f"holds a {name} as {inner!r}, expected one of {', '.join(classes)}")
    return body


def preconditioning(network: Persistent) -> Preconditioning:
    """From the attributes of the object; defaults are no part of the pickle, attributes are."""
    form, state = CLASSES[network.class_name], network.state
    high = number(state.get("sigma_max", math.inf), "sigma_max")
    return Preconditioning(
        form.form,
        form.time,
        sigma_min=number(state.get("sigma_min", 0.0), "sigma_min"),
        sigma_max=None if math.isinf(high) else high,
        sigma_data=number(state.get("sigma_data", 0.5), "sigma_data"),
        constants=tuple((key, number(state.get(key), key)) for key in form.constants),
    )


def number(value: object, name: str) -> float:
    """A real number; raises CheckpointError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise CheckpointError(f"has {name} = {value!r}, expected a number")
    return float(value)


def check_attributes(network: Persistent, config: Any) -> None:
    """What the object says of its images must be what its tensors say."""
    for name, field in ATTRIBUTES.items():
        expected = getattr(config, field)
        if network.state.get(name) != expected:
            raise CheckpointError(f"has {name} = {network.state.get(name)!r}, its tensors say {expected}")


def latents_of(encoder: object) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Scale and bias of EDM2's latent encoder; None for networks of pixels."""
    if not isinstance(encoder, Persistent):
        return None
    scale, bias = encoder.state.get("scale"), encoder.state.get("bias")
    if not isinstance(scale, Array) or not isinstance(bias, Array):
        return None
    return tuple(scale.value.flatten().tolist()), tuple(bias.value.flatten().tolist())
