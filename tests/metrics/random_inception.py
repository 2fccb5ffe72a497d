"""Random weights in torch-fidelity's file format whose features do not collapse.

Default initialisation lets the variance fall layer by layer, until all images have the same features and
every comparison of metrics passes. Here weights are Kaiming normal, and batch norm is calibrated on real
images.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn


def photos(count: int, seed: int, size: int = 32) -> Tensor:
    """Crops of scikit-learn's two sample photographs, uint8 ``[count, 3, size, size]``."""
    pictures = load_sample_images().images
    rng = np.random.default_rng(seed)
    crops = []
    for _ in range(count):
        picture = pictures[rng.integers(2)]
        step = int(rng.integers(1, 5))
        y, x = (int(rng.integers(side - size * step)) for side in picture.shape[:2])
        crops.append(picture[y : y + size * step : step, x : x + size * step : step])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def digit_images(count: int) -> Tensor:
    """Handwritten digits as grey RGB images, uint8 ``[count, 3, 8, 8]``."""
    grey = (load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(grey)[:, None].repeat(1, 3, 1, 1)


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """TorchScript, whose use PyTorch advises against; published files are in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def theirs(weights: Path, outputs: list[str]) -> nn.Module:
    """torch-fidelity's own extractor."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with torch.random.fork_rng(devices=[]):
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", outputs, feature_extractor_weights_path=str(weights)
        )


def write_random_inception(path: Path, seed: int = 0) -> None:
    """Draw, calibrate and save."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    generator = torch.Generator().manual_seed(seed)
    network = _bare(module)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan = layer.weight[0].numel()
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * (2 / fan) ** 0.5
        if isinstance(layer, nn.Linear):
            layer.bias.data = torch.randn(layer.bias.shape, generator=generator)
        if isinstance(layer, nn.BatchNorm2d):  # not the neutral one: folding must be seen
            layer.weight.data = 0.5 + torch.rand(layer.weight.shape, generator=generator)
            # above zero, or rectifiers multiply rounding errors a thousandfold over the depth
            layer.bias.data = 1 + 0.3 * torch.randn(layer.bias.shape, generator=generator)
            layer.momentum = None
            layer.reset_running_stats()
            layer.train()
    small = torch.nn.functional.interpolate(digit_images(3).float(), size=32).byte()
    with torch.no_grad():
        network(torch.cat([photos(7, seed), small]))
    torch.save(network.state_dict(), path)


def _bare(module: object) -> nn.Module:
    """torch-fidelity's network with no weights read: its constructor insists on a file."""
    cls = module.FeatureExtractorInceptionV3

    class Bare(cls):
        def load_state_dict(self, state, *args, **kwargs):
            return None

    load = torch.load
    torch.load = lambda *args, **kwargs: {}
    try:
        with torch.random.fork_rng(devices=[]):
            return Bare("inception-v3-compat", ["2048", "logits"], feature_extractor_weights_path="none")
    finally:
        torch.load = load
