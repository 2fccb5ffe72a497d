"""Pipeline folders of the published format with tiny random networks, as diffusers itself writes them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.streams import torch_generator
from baselines.teachers.stable_diffusion import TextTeacher

CONTEXT, WIDTH, SIDE, CHANNELS, FACTOR = 12, 16, 8, 4, 0.7
CAPTIONS = ("a red disc", "two blue bars", "a cat", "green on grey", "a red bar", "discs", "a disc", "bars")
RATES = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
UNET: dict[str, Any] = {
    "sample_size": SIDE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}

XL_WIDTH, POOLED = 40, 20  # of two encodings side by side, and of the second's projection
XL_UNET: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "cross_attention_dim": XL_WIDTH,
    "attention_head_dim": (2, 4),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": POOLED + 6 * 8,
}


def filled(module: Any, seed: int) -> Any:
    """The module with all weights drawn from a generator: none is zero, as after a training."""
    generator = torch_generator(seed, "init")
    with torch.no_grad():
        for weight in module.parameters():
            spread = 0.3 if weight.ndim < 2 else 1 / weight[0].numel() ** 0.5
            weight.copy_(weight.mean() + spread * torch.randn(weight.shape, generator=generator))
    return module.eval()


def tokenizer(folder: Path, pad: str = "") -> Any:
    """A byte-pair tokenizer of single letters; fills captions up with a character (SDXL: "!"), or the end."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = list(string.ascii_lowercase)
    words = [*pad, *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = {"vocab": str(folder / "vocab.json"), "merges": str(folder / "merges.txt")}
    return CLIPTokenizer(**files, model_max_length=CONTEXT, pad_token=pad or "<|endoftext|>")


def text_model(**changes: Any) -> Any:
    """A CLIP text encoder of one layer; with changes SDXL's second one, which projects."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    usual = {
        "vocab_size": 54,
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        "projection_dim": WIDTH,
        "bos_token_id": 52,
        "eos_token_id": 53,
        "pad_token_id": 53,
    }
    class_ = CLIPTextModelWithProjection if changes else CLIPTextModel
    return filled(class_(CLIPTextConfig(**{**usual, **changes})), 1)


def unet(**changes: Any) -> Any:
    """A conditional U-Net of two levels."""
    from diffusers import UNet2DConditionModel

    return filled(UNet2DConditionModel(**{**UNET, **changes}), 2)


def autoencoder() -> Any:
    """Of pictures of 16 x 16 and latents of 8 x 8."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=CHANNELS,
        sample_size=16,
        scaling_factor=FACTOR,
    )
    return filled(vae, 3)


def write_pipeline(
    folder: Path,
    *,
    prediction: str = "epsilon",
    scheduler: dict[str, Any] | None = None,
    **unet_changes: Any,
) -> Path:
    """A StableDiffusionPipeline folder, images of 16 x 16 and latents of 8 x 8."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    with torch.random.fork_rng():
        rates = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, **RATES}
        rates["timestep_spacing"] = "trailing"
        pipeline = StableDiffusionPipeline(
            vae=autoencoder(),
            unet=unet(**unet_changes),
            text_encoder=text_model(),
            tokenizer=tokenizer(folder.parent / f"{folder.name}-words"),
            scheduler=DDIMScheduler(prediction_type=prediction, **{**rates, **(scheduler or {})}),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def write_xl_pipeline(folder: Path, **options: Any) -> Path:
    """A StableDiffusionXLPipeline folder of the same sizes: two text encoders, a U-Net that reads sizes."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    second = {
        "vocab_size": 55,
        "hidden_size": XL_WIDTH - WIDTH,
        "projection_dim": POOLED,
        "num_hidden_layers": 2,
    }
    ids = {"bos_token_id": 53, "eos_token_id": 54, "pad_token_id": 0}
    words = folder.parent / f"{folder.name}-words"
    with torch.random.fork_rng():
        pipeline = StableDiffusionXLPipeline(
            vae=autoencoder(),
            unet=unet(**XL_UNET),
            text_encoder=text_model(),
            text_encoder_2=text_model(**second, **ids),
            tokenizer=tokenizer(words),
            tokenizer_2=tokenizer(words, "!"),
            scheduler=EulerDiscreteScheduler(**RATES),
            add_watermarker=False,
            **options,
        )
    pipeline.save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def latents(count: int, seed: int = 0) -> Tensor:
    """Unit-variance numbers of the shape of latents."""
    generator = torch_generator(seed, "data")
    return torch.randn(count, CHANNELS, SIDE, SIDE, generator=generator)


def captioned(teacher: TextTeacher, seed: int, number: int, size: int) -> tuple[Tensor, Cond]:
    """A training batch: latents with captions."""
    captions = [CAPTIONS[(number * size + i) % len(CAPTIONS)] for i in range(size)]
    return 0.8 * latents(size, 1000 * seed + number), teacher.condition(captions)


class Recorded(nn.Module):
    """A stand-in for a U-Net: outputs of a function of (z, timestep)."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, noise_label: Tensor, label: Tensor | None = None, **extra: Any) -> Tensor:
        return self.function(x, noise_label)  # type: ignore[no-any-return]
