"""The digits teacher: a small DDPM++ under EDM preconditioning, trained by ``bench teach --suite digits``."""

from __future__ import annotations

from torch import Tensor

from baselines.datasets.digits import load_digits
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.networks.song_unet import SongUNet
from baselines.streams import torch_generator
from baselines.teachers.training import DenoiserTraining, TeacherRecipe

RECIPE = TeacherRecipe(iterations=12_000, batch=128, lr=1e-3, ema_half_life=50_000)


def digits_denoiser(dropout: float = 0.0) -> Denoiser:
    """The architecture of the teacher and of its students (264,145 parameters), weights not yet set."""
    network = SongUNet(
        resolution=8,
        channels=1,
        label_dim=10,
        model_channels=16,
        channel_mult=(2, 2),
        num_blocks=1,
        attn_resolutions=(4,),
        dropout=dropout,
    )
    return Denoiser(network, EDMScaling(0.5))


def digits_training(recipe: TeacherRecipe = RECIPE) -> DenoiserTraining:
    """A training on the train split, ready to step."""
    train, held_out = load_digits()
    denoiser = digits_denoiser(dropout=0.10)
    denoiser.model.initialise(torch_generator(recipe.seed, "init"))  # type: ignore[operator]

    def draw(iteration: int) -> tuple[Tensor, Cond]:
        return train.batch(recipe.seed, iteration, recipe.batch)

    return DenoiserTraining(denoiser, recipe, draw, held_out=held_out.everything)
