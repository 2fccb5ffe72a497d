"""The seventh published list: OpenAI's names for the tensors of DhariwalUNet."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch

from baselines.checkpoints.architecture import DhariwalConfig
from baselines.checkpoints.openai import openai_names
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.networks.dhariwal_unet import DhariwalUNet

DATA = Path(__file__).parents[1] / "data"
PUBLISHED = json.loads(gzip.decompress((DATA / "state_dict_shapes.json.gz").read_bytes()))
IMAGENET = DhariwalConfig(64, 3, 3, 1000, 0, 192, (1, 2, 3, 4), 4, 3, (32, 16, 8))


def test_openai_names_shapes_and_order() -> None:
    """The same tensors in the same order: class embeddings by row, attention in one dimension, no filters."""
    with torch.device("meta"):
        net = Denoiser(DhariwalUNet(64, 3, label_dim=1000), EDMScaling())
    names, ours = openai_names(IMAGENET), []
    for name, value in net.state_dict().items():
        shape = list(value.shape)
        if name == "model.map_label.weight":
            shape = shape[::-1]
        if name.endswith((".qkv.weight", ".proj.weight")):
            shape = shape[:3]
        if not name.endswith("resample_filter"):
            ours.append((names[name], shape))
    assert ours == list(PUBLISHED["openai-cm-imagenet64"].items())
