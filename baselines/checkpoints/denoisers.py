"""From what a weight file says of its network to the network itself, under the house convention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch

from baselines.checkpoints.architecture import (
    Architecture,
    DhariwalConfig,
    EDM2Config,
    Preconditioning,
    SongConfig,
)
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.reading import Checkpoint
from baselines.diffusion.denoiser import BoundaryScaling, Denoiser, EDMScaling, Scaling
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.diffusion.scalings import IDDPMScaling, OpenAILabels, VEScaling, VPScaling
from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.networks.edm2_unet import EDM2UNet
from baselines.networks.song_unet import SongUNet
from baselines.networks.song_variant import published_variant

VARIANT = ("embedding_type", "encoder_type", "channel_mult_noise", "resample_filter")


def _vp(form: Preconditioning) -> Scaling:
    known = dict(form.constants)
    return VPScaling(known["beta_d"], known["beta_min"], int(known["M"]), known["epsilon_t"])


def _iddpm(form: Preconditioning) -> Scaling:
    known = dict(form.constants)
    return IDDPMScaling(known["C_1"], known["C_2"], int(known["M"]))


def _ve(form: Preconditioning) -> Scaling:
    assert form.sigma_max is not None
    return VEScaling(form.sigma_min, form.sigma_max)


SCALINGS: dict[str, Callable[[Preconditioning], Scaling]] = {
    "edm": lambda form: EDMScaling(form.sigma_data),
    "boundary": lambda form: BoundaryScaling(form.sigma_data, form.sigma_min),
    "vp": _vp,
    "ve": _ve,
    "iddpm": _iddpm,
}


def scaling_for(form: Preconditioning) -> Scaling:
    """The scaling that a weight file asks for; ``clip`` is a matter of its sampler and left out.

    Raises:
        CheckpointError: the network takes the timesteps of a discrete process (diffusers).
    """
    if form.form not in SCALINGS:
        raise CheckpointError(f"asks for the preconditioning {form.form!r}, which no image network here has")
    scaling = SCALINGS[form.form](form)
    return OpenAILabels(scaling) if form.time == "250 ln(sigma)" else scaling


def build_denoiser(architecture: Architecture, body: torch.dtype | None = None) -> Denoiser:
    """The denoiser for an architecture, weights not yet set.

    Args:
        body: precision of the activations inside the network, or None for that of its input.

    Raises:
        CheckpointError: the architecture is no image network (a diffusers UNet, a LoRA).
    """
    config, form = architecture.config, architecture.preconditioning
    if form is None or not isinstance(config, SongConfig | DhariwalConfig | EDM2Config):
        raise CheckpointError(f"holds a {architecture.network}, expected SongUNet, DhariwalUNet or EDM2UNet")
    scaling, options = scaling_for(form), {key: getattr(config, key) for key in asdict(config)}
    if isinstance(config, SongConfig):
        variant = published_variant(**{key: options.pop(key) for key in VARIANT})
        return Denoiser(SongUNet(**options, variant=variant), scaling, body)
    if isinstance(config, DhariwalConfig):
        return Denoiser(DhariwalUNet(**options), scaling, body)
    uncertainty = options.pop("logvar_channels")
    return EDM2Denoiser(EDM2UNet(**options), scaling, body, uncertainty)


def load_denoiser(checkpoint: Checkpoint, body: torch.dtype | None = None) -> Denoiser:
    """The denoiser of a weight file with its weights in fp32, in eval mode and frozen.

    Raises:
        CheckpointError: the file holds no image network.
    """
    denoiser = build_denoiser(checkpoint.architecture, body)
    denoiser.load_state_dict(checkpoint.tensors)
    return denoiser.eval().requires_grad_(False)
