"""Which published family a state dict belongs to, by its names; they become those of our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from baselines.checkpoints.architecture import Architecture, DhariwalConfig, Preconditioning, SongConfig
from baselines.checkpoints.errors import CheckpointError, some
from baselines.checkpoints.inference import dhariwal_config, diffusers_config, edm2_config, song_config
from baselines.checkpoints.layout import check_layout, expected_shapes
from baselines.checkpoints.licences import DERIVED, OPENAI, UNKNOWN, Licence
from baselines.checkpoints.lora import is_lora, lora_config, lora_factors
from baselines.checkpoints.openai import attention_order, from_openai, openai_config

Kind = Literal["edm", "edm2", "openai", "diffusers", "lcm", "lora"]

EXTRA = re.compile(r"(model\.)?logvar_\w+\..+|u")  # FastGen's variance head; iDDPM's table of noise levels
STUDENT = "feedforward_model."  # DMD2 training checkpoints keep student and guidance side by side
GUIDANCE = ("guidance_model.", "real_unet.", "fake_unet.", "cls_pred_branch.")

EDM = Preconditioning("edm", "ln(sigma)/4")
CM_TEACHER = Preconditioning("edm", "250 ln(sigma)", 0.002, 80.0, clip=True)
CM_STUDENT = Preconditioning("boundary", "250 ln(sigma)", 0.002, 80.0, clip=True)
ADM = Preconditioning(  # cosine schedule, the variance learnt beside epsilon
    "iddpm", "index", 0.0, None, constants=(("C_1", 0.001), ("C_2", 0.008), ("M", 1000.0))
)
SCALED = Preconditioning("epsilon", "timestep")  # latents of diffusers: discrete timesteps, no rescaling


@dataclass(frozen=True)
class Hints:
    """What the content of a file does not tell: its published name, role and resolution."""

    name: str = ""
    role: Literal["teacher", "student"] | None = None
    resolution: int | None = None


@dataclass(frozen=True)
class Recognised:
    """A state dict under our names, with what it needs."""

    kind: Kind
    architecture: Architecture
    tensors: dict[str, Tensor]
    licence: Licence
    extras: tuple[str, ...] = ()


def recognise(state: dict[str, Tensor], hints: Hints) -> Recognised:
    """Family of a state dict.

    Raises:
        CheckpointError: no family has such names, or parameters are missing or unexpected.
    """
    if any(name.startswith(STUDENT) for name in state):
        rest = tuple(name for name in state if not name.startswith(STUDENT))
        student = {n.removeprefix(STUDENT): v for n, v in state.items() if n.startswith(STUDENT)}
        found = recognise(student, hints)
        return Recognised(found.kind, found.architecture, found.tensors, found.licence, found.extras + rest)
    if guides := [name for name in state if name.startswith(GUIDANCE)]:
        raise CheckpointError(
            f"holds DMD2's guidance networks ({some(guides, 1)}), not the student; take pytorch_model.bin"
        )
    if "model.map_layer0.weight" in state:
        return edm_state(state)
    if "unet.out_gain" in state:
        return edm2_state(state)
    if "time_embed.0.weight" in state:
        return openai_state(state, hints)
    if is_lora(state):
        config = lora_config(lora_factors(state))
        return Recognised("lora", Architecture("LoRA", config), dict(state), UNKNOWN)
    if "time_embedding.linear_1.weight" in state:
        return diffusers_state(state)
    known = "EDM, EDM2, OpenAI or diffusers"
    raise CheckpointError(
        f"holds parameters of no published family ({some(state)}); expected those of {known}"
    )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def edm_state(
    state: Mapping[str, Tensor],
    preconditioning: Preconditioning = EDM,
    dropout: float = 0.0,
    use_fp16: bool = False,
    licence: Licence = DERIVED,
) -> Recognised:
    """SongUNet or DhariwalUNet under EDM's names: teachers, SiD, DMD2, FastGen."""
    extras = tuple(name for name in state if EXTRA.fullmatch(name))
    shapes = {name: shape for name, shape in shapes_of(state).items() if name not in extras}
    config: SongConfig | DhariwalConfig
    if "model.out_conv.weight" in shapes:
        network, config = "DhariwalUNet", dhariwal_config(shapes, dropout)
    else:
        network, config = "SongUNet", song_config(shapes, dropout)
    expected = expected_shapes(config)
    check_layout(shapes, expected)
    tensors = {name: state[name] for name in expected}
    return Recognised(
        "edm", Architecture(network, config, preconditioning, use_fp16), tensors, licence, extras
    )


def edm2_state(
    state: Mapping[str, Tensor],
    preconditioning: Preconditioning = EDM,
    dropout: float = 0.0,
    use_fp16: bool = False,
    licence: Licence = DERIVED,
) -> Recognised:
    """EDM2's network under its own names."""
    shapes = shapes_of(state)
    config = edm2_config(shapes, dropout)
    expected = expected_shapes(config)
    check_layout(shapes, expected)
    tensors = {name: state[name] for name in expected}
    return Recognised("edm2", Architecture("EDM2UNet", config, preconditioning, use_fp16), tensors, licence)


def openai_state(state: Mapping[str, Tensor], hints: Hints) -> Recognised:
    """ADM and the CM fork, under our names; who is teacher and who student only the file's name tells."""
    shapes = shapes_of(state)
    config = openai_config(shapes, hints.resolution)
    order = attention_order(shapes, len(config.channel_mult))
    if config.out_channels != config.channels:
        form = ADM
    else:
        form = {"teacher": CM_TEACHER, "student": CM_STUDENT}[hints.role or role_of(hints.name)]
    tensors = from_openai(state, config, order)
    return Recognised("openai", Architecture("DhariwalUNet", config, form, True), tensors, OPENAI)


def role_of(name: str) -> str:
    """Role by the published names; raises CheckpointError for others."""
    for role, prefixes in {"student": ("cd_", "ct_"), "teacher": ("edm_",)}.items():
        if name.startswith(prefixes):
            return role
    raise CheckpointError(
        "does not tell whether it is a teacher (edm_*) or a student (cd_*, ct_*); state the role (--role)"
    )


def diffusers_state(state: Mapping[str, Tensor]) -> Recognised:
    """A UNet of Stable Diffusion's kind; with a guidance embedding it is an LCM."""
    config = diffusers_config(shapes_of(state))
    kind: Kind = "lcm" if config.time_cond_dim else "diffusers"
    architecture = Architecture("UNet2DConditionModel", config, SCALED)
    return Recognised(kind, architecture, dict(state), UNKNOWN)
