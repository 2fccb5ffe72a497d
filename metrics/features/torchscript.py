"""TorchScript files: the form in which NVIDIA's Inception and OpenAI's CLIP were published."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """The module in a file, on the CPU. Loading runs code of the file: prove its digest first.

    Raises:
        RuntimeError, ValueError: no TorchScript.
    """
    with warnings.catch_warnings():  # PyTorch advises other formats; these files have no other
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu")
