"""Configs of published pipelines: what they cost is known without their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.teachers.pipeline_folder import PipelineFolder


@dataclass(frozen=True)
class StatedPipeline(PipelineFolder):
    """A pipeline of which the configs are known and no folder is here.

    Attributes:
        configs: by part, those entries that decide the network and its levels.
    """

    configs: Mapping[str, dict[str, Any]]

    def config(self, part: str) -> dict[str, Any]:
        return self.configs[part]


def stated(name: str, pipeline: str, **configs: dict[str, Any]) -> StatedPipeline:
    """The pipeline of an asset, by diffusers' name of its class."""
    return StatedPipeline(Path(name), {"_class_name": pipeline}, configs)


RATES = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
PUBLISHED: dict[str, StatedPipeline] = {
    "sd15": stated(
        "sd15",
        "StableDiffusionPipeline",
        unet={
            "sample_size": 64,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        text_encoder={"max_position_embeddings": 77, "hidden_size": 768},
        scheduler=RATES,
    ),
    "sdxl-base-1.0": stated(
        "sdxl-base-1.0",
        "StableDiffusionXLPipeline",
        unet={
            "sample_size": 128,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": [320, 640, 1280],
            "layers_per_block": 2,
            "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
            "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        text_encoder={"max_position_embeddings": 77, "hidden_size": 768},
        text_encoder_2={"max_position_embeddings": 77, "hidden_size": 1280, "projection_dim": 1280},
        scheduler=RATES,
    ),
}
