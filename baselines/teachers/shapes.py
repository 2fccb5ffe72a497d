"""The teacher of the suite ``shapes``: the parts of a small Stable Diffusion, in a diffusers pipeline folder.

Every part is the real library's class at a small size; only configs are ours. The network predicts v
(Salimans & Ho, 2022): at the noisiest levels, where students of few steps start, an error of epsilon is
multiplied by 1 / alpha = 15 on its way to x0, an error of v is not, and a small network makes errors.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from baselines.datasets.byte_pairs import Merge, clip_tokenizer_files, learn_merges, vocabulary
from baselines.datasets.scene_captions import captioned
from baselines.datasets.scenes import SIDE, TRAIN
from baselines.streams import seeded

CONTEXT = 36  # tokens of the longest caption, start and end included
LATENT = (4, 8, 8)
WIDTH = 128  # of caption states
CORPUS = 4_000  # captions that the vocabulary is learned from
VAE_FILE, UNET_FILE = "vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"
TEXT_FILE = "text_encoder/model.safetensors"

SCHEDULER = {  # Stable Diffusion's noise levels
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


@lru_cache(maxsize=1)
def scene_merges() -> tuple[Merge, ...]:
    """The vocabulary of the captions' language: every word of it is one token."""
    return tuple(learn_merges(captioned(TRAIN, 0, index).caption for index in range(CORPUS)))


def libraries() -> tuple[Any, Any]:
    """The modules diffusers and transformers.

    Raises:
        ValueError: one of them is not installed.
    """
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise ValueError(
            f"the models of shapes are diffusers' and transformers', and {error.name} is not installed; "
            "pip install 'distillbench[text]'"
        ) from error
    return diffusers, transformers


def scene_vae(seed: int) -> nn.Module:
    """``AutoencoderKL`` from 32x32 pictures to latents 4x8x8, drawn from the stream ``init``."""
    diffusers, _ = libraries()
    with seeded(seed, "init"):
        return diffusers.AutoencoderKL(  # type: ignore[no-any-return]
            sample_size=SIDE,
            latent_channels=LATENT[0],
            block_out_channels=(16, 32, 64),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
        )


def scene_unet(seed: int) -> nn.Module:
    """``UNet2DConditionModel`` on the latents, with cross-attention on captions at its lower resolution.

    Attention at 8x8 as well would cost half as much again in every evaluation.
    """
    diffusers, _ = libraries()
    with seeded(seed, "init", 1):
        return diffusers.UNet2DConditionModel(  # type: ignore[no-any-return]
            sample_size=LATENT[1],
            in_channels=LATENT[0],
            out_channels=LATENT[0],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(64, 128),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,  # number of heads, by an old slip of diffusers
            norm_num_groups=16,
        )


def scene_text_encoder(seed: int, words: int) -> nn.Module:
    """CLIP's text transformer for a vocabulary of so many tokens."""
    _, transformers = libraries()
    config = transformers.CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        projection_dim=WIDTH,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
        dtype="float32",
    )
    with seeded(seed, "init", 2):
        return transformers.CLIPTextModel(config)  # type: ignore[no-any-return]


def config_of(network: Any) -> str:
    """The ``config.json`` of a part."""
    config = network.config
    return str(config.to_json_string() if hasattr(config, "to_json_string") else network.to_json_string())


def fixed_files() -> dict[str, str]:
    """What of the folder is not trained: index, scheduler and tokenizer, by path."""
    tokenizer = clip_tokenizer_files(scene_merges(), CONTEXT)
    return {
        "model_index.json": json.dumps(INDEX, indent=1) + "\n",
        "scheduler/scheduler_config.json": json.dumps(SCHEDULER, indent=1) + "\n",
        **{f"tokenizer/{name}": content for name, content in tokenizer.items()},
    }


def load_vae(folder: Path) -> Any:
    """The trained autoencoder of a pipeline folder, fp32, frozen.

    Raises:
        ValueError: it is not trained yet.
    """
    diffusers, _ = libraries()
    if not (folder / VAE_FILE).is_file():
        raise ValueError(
            f"{folder / VAE_FILE}: missing; train it first: bench teach --suite shapes --part vae"
        )
    return diffusers.AutoencoderKL.from_pretrained(str(folder / "vae")).float().eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a pipeline folder; see ``fixed_files``."""
    _, transformers = libraries()
    return transformers.CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))


def vocabulary_size() -> int:
    """Tokens of the language."""
    return len(vocabulary(scene_merges()))
