"""NVIDIA's TorchScript Inception, run as it is: with its own resize, or with clean-fid's before it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from metrics.features.digest import checked_digest, misfit
from metrics.features.extractor import Extra, Extractor, Features
from metrics.features.resize import Resize, pil_bicubic
from metrics.features.torchscript import load_torchscript

TINY = torch.finfo(torch.float32).tiny


class NvidiaInception(Extractor):
    """2048 features as StyleGAN2-ADA, EDM, SiD and FastGen take them: the file resizes and scales inside.

    Its logits are the logarithms of its probabilities, taken without the bias of the last layer.
    """

    name = "inception-nvidia"
    dimension = 2048
    resize = Resize.TF1_BILINEAR_299
    extras: ClassVar[frozenset[Extra]] = frozenset({Extra.LOGITS})

    def __init__(self, module: torch.jit.ScriptModule, sha256: str, device: torch.device) -> None:
        self.module, self.sha256, self.device = module, sha256, device

    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        pool = self.module(images, return_features=True).reshape(len(images), self.dimension).float()
        if Extra.LOGITS not in extras:
            return Features(pool)
        return Features(pool, logits=self.module(images, no_output_bias=True).clamp_min(TINY).log())


class CleanInception(Extractor):
    """2048 features as clean-fid's mode "clean" takes them: Pillow resizes, the file's resize is off."""

    name = "inception-clean"
    dimension = 2048
    resize = Resize.PIL_BICUBIC_299

    def __init__(self, module: torch.jit.ScriptModule, sha256: str, device: torch.device) -> None:
        self.layers, self.sha256, self.device = module.layers, sha256, device

    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        return Features(self.layers((pil_bicubic(images) - 128) / 128).reshape(len(images), self.dimension))


def load_nvidia(weights: Path, sha256: str | None, device: str) -> NvidiaInception:
    """The extractor from ``inception-2015-12-05.pt``.

    Raises:
        ValueError: no such file, another digest, or no such network in it.
    """
    return NvidiaInception(*_loaded(NvidiaInception.name, weights, sha256, device))


def load_clean(weights: Path, sha256: str | None, device: str) -> CleanInception:
    """The extractor from ``inception-2015-12-05.pt``.

    Raises:
        ValueError: no such file, another digest, or no such network in it.
    """
    return CleanInception(*_loaded(CleanInception.name, weights, sha256, device))


def _loaded(
    name: str, weights: Path, sha256: str | None, device: str
) -> tuple[torch.jit.ScriptModule, str, torch.device]:
    """TorchScript runs code when it is loaded, so the digest is proven first."""
    digest, place = checked_digest(name, weights, sha256), torch.device(device)
    try:
        module = load_torchscript(weights).eval().to(place)
    except (RuntimeError, ValueError) as error:
        raise misfit(name, weights, "TorchScript", error) from error
    if not hasattr(module, "layers"):
        raise misfit(name, weights, "NVIDIA's Inception", ValueError("it has no part 'layers'"))
    return module, digest, place
