"""Published weight files, read without running anything that is in them.

``read_checkpoint`` reads every published format; ``save_converted`` and ``load_converted`` keep the result as
safetensors with a record, so that a pickle is read once; ``merge_lora`` adds a LoRA to the weights it was
trained on.
"""

from baselines.checkpoints.architecture import Architecture
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.lora import merge_lora
from baselines.checkpoints.reading import Checkpoint, read_checkpoint
from baselines.checkpoints.stored import load_converted, save_converted

__all__ = [
    "Architecture",
    "Checkpoint",
    "CheckpointError",
    "load_converted",
    "merge_lora",
    "read_checkpoint",
    "save_converted",
]
