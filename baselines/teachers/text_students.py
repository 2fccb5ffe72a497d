"""Published students of text-to-image teachers: U-Nets (DMD2, LCM) and LoRAs (LCM-LoRA), one file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.checkpoints import CheckpointError, merge_lora, read_checkpoint
from baselines.checkpoints.architecture import DiffusersConfig
from baselines.checkpoints.naming import naming
from baselines.checkpoints.reading import Checkpoint
from baselines.diffusion.denoiser import Denoiser
from baselines.teachers.pipeline_folder import PipelineFolder
from baselines.teachers.stable_diffusion import StrengthInput, TextTeacher, Whole, blank_net, load_unet


def load_text_student(teacher: TextTeacher, file: Path, scale: float = 1.0) -> Denoiser:
    """The student of a file under its teacher's scaling (``rescaled`` for its method's), frozen, on the CPU.

    Args:
        scale: strength of a LoRA.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it holds something else, or is for another base than the teacher.
    """
    checkpoint = read_checkpoint(file)
    folder = PipelineFolder.open(teacher.path)
    with naming(file):
        config = checkpoint.architecture.config
        width = config.time_cond_dim if isinstance(config, DiffusersConfig) else 0
        net = blank_net(folder, StrengthInput(width) if width else Whole(), folder.scaling())
        weights = student_weights(folder, checkpoint, scale)
        unet: Any = net.model.unet
        differ = sorted(
            name
            for name, value in unet.state_dict().items()
            if name not in weights or weights[name].shape != value.shape
        )
        if differ or len(weights) != len(unet.state_dict()):
            found = f"{differ[0]} differs" if differ else "it has more layers"
            raise CheckpointError(f"is for another U-Net than that of {teacher.path} ({found})")
        unet.load_state_dict({name: value.float() for name, value in weights.items()})
    return net.eval().requires_grad_(False)


def student_weights(folder: PipelineFolder, checkpoint: Checkpoint, scale: float) -> dict[str, Tensor]:
    """Weights of the whole U-Net, by diffusers' names."""
    if checkpoint.kind == "lora":
        return merge_lora(load_unet(folder).state_dict(), checkpoint.tensors, scale)
    if checkpoint.kind not in ("diffusers", "lcm"):
        raise CheckpointError(
            f"holds a {checkpoint.architecture.network}, expected a U-Net of diffusers or a LoRA"
        )
    return checkpoint.tensors
