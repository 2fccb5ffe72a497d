"""Published students of text-to-image teachers: U-Nets (DMD2, LCM) and LoRAs (LCM-LoRA), one file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.checkpoints import CheckpointError, merge_lora, read_checkpoint
from baselines.checkpoints.architecture import DiffusersConfig
from baselines.checkpoints.naming import naming
from baselines.checkpoints.reading import Checkpoint
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, Scaling
from baselines.diffusion.vp import AtTimestep
from baselines.teachers.pipeline_folder import PipelineFolder
from baselines.teachers.stable_diffusion import StrengthInput, TextTeacher, Whole, blank_net, load_unet


class AtStrength(Denoiser):
    """A student that takes the guidance strength as an input, held at one strength ``w``."""

    def __init__(self, net: Denoiser, w: float) -> None:
        super().__init__(net.model, net.scaling, net.body)
        self.w = w

    def rescaled(self, scaling: Scaling) -> AtStrength:
        """The same network and strength under another scaling."""
        return AtStrength(super().rescaled(scaling), self.w)

    def _ask(self, function: Any, x: Tensor, sigma: Tensor | float, cond: Cond | None) -> Tensor:
        held = replace(cond or Cond(), w=torch.full((len(x),), self.w, device=x.device))
        return super()._ask(function, x, sigma, held)


def load_text_student(
    teacher: TextTeacher,
    file: Path,
    scale: float = 1.0,
    w: float | None = None,
    timestep: int | None = None,
) -> Denoiser:
    """The student of a file under its teacher's scaling (``rescaled`` for its method's), frozen, on the CPU.

    Args:
        scale: strength of a LoRA.
        w: guidance strength at which a student that takes it as an input is held; None: conditions say it.
        timestep: at which a one-step student is asked, whatever the level; None: at that of the level.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it holds something else, is for another base than the teacher, or takes no strength.
    """
    checkpoint = read_checkpoint(file)
    folder = PipelineFolder.open(teacher.path)
    with naming(file):
        config = checkpoint.architecture.config
        width = config.time_cond_dim if isinstance(config, DiffusersConfig) else 0
        scaling = folder.scaling()
        net = blank_net(folder, StrengthInput(width) if width else Whole(), scaling)
        if w is not None and not width:
            raise CheckpointError("takes no guidance scale as an input; leave the scale out")
        fill(net, student_weights(folder, checkpoint, scale), teacher.path)
    net = net if timestep is None else net.rescaled(AtTimestep(scaling, timestep))
    held = net if w is None else AtStrength(net, w)
    return held.eval().requires_grad_(False)


def fill(net: Denoiser, weights: Mapping[str, Tensor], base: Path) -> None:
    """Set the weights of a U-Net; raises CheckpointError if they are for another than the base's."""
    unet: Any = net.model.unet
    shapes = {name: value.shape for name, value in unet.state_dict().items()}
    differ = sorted(n for n, shape in shapes.items() if n not in weights or weights[n].shape != shape)
    if differ or len(weights) != len(shapes):
        found = f"{differ[0]} differs" if differ else "it has more layers"
        raise CheckpointError(f"is for another U-Net than that of {base} ({found})")
    unet.load_state_dict({name: value.float() for name, value in weights.items()})


def student_weights(folder: PipelineFolder, checkpoint: Checkpoint, scale: float) -> dict[str, Tensor]:
    """Weights of the whole U-Net, by diffusers' names."""
    if checkpoint.kind == "lora":
        return merge_lora(load_unet(folder).state_dict(), checkpoint.tensors, scale)
    if checkpoint.kind not in ("diffusers", "lcm"):
        raise CheckpointError(
            f"holds a {checkpoint.architecture.network}, expected a U-Net of diffusers or a LoRA"
        )
    return checkpoint.tensors
