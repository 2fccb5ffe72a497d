"""Small files of exactly the published formats, under the ids and names that a real suite asks for.

Networks are of the published classes with few channels; the feature network is TorchScript with the calls of
NVIDIA's file. Digests and sizes of the real files are taken out of the registries, and nothing else.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_files import write_edm, write_edm2, write_torchscript
from torch import Tensor, nn

from baselines.checkpoints.architecture import (
    Architecture,
    DhariwalConfig,
    EDM2Config,
    Preconditioning,
    SongConfig,
)
from baselines.checkpoints.denoisers import build_denoiser
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.networks.layers import initialise
from baselines.streams import numpy_generator, torch_generator
from bench.assets.registry import Asset, assets, find
from bench.suite import Suite
from metrics.features.nvidia import NvidiaInception
from metrics.features.registry import ENTRIES
from metrics.protocols.registry import shipped_protocols

FEATURES = 16  # of the small feature network
CONFIGS = {
    "imagenet64": DhariwalConfig(64, 3, 3, 1000, 0, 16, (1, 1, 4), 4, 1, (16,)),
    "imagenet512": EDM2Config(64, 4, 1000, (16, 16, 64), 16, 64, 1, (16,), 16),
    "cifar10": SongConfig(32, 3, 3, 0, 9, 8, (1, 2), 4, 1, (16,), dropout=0.13),
}
IMAGES = 12
BUFFERS = ("resample_filter", "freqs", "phases")


class SmallInception(nn.Module):
    """The calls of NVIDIA's TorchScript file."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, FEATURES, 5, stride=4), nn.ReLU())

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        pooled = self.layers((img.float() - 128) / 128).mean(dim=[2, 3])
        return pooled if return_features else torch.softmax(pooled, dim=1)


def weights(config: DhariwalConfig | SongConfig | EDM2Config, seed: int) -> dict[str, Tensor]:
    """Weights as of a trained network: none is zero."""
    names = {SongConfig: "SongUNet", DhariwalConfig: "DhariwalUNet", EDM2Config: "EDM2UNet"}
    net = build_denoiser(Architecture(names[type(config)], config, Preconditioning("edm", "ln(sigma)/4")))
    generator = torch_generator(seed, "init")
    if isinstance(net, EDM2Denoiser):
        net.initialise(generator)
    else:
        initialise(net, generator)

    def grown(name: str, value: Tensor) -> Tensor:
        noise = torch.randn(value.shape, generator=generator)
        return value if name.endswith(BUFFERS) else value + 0.02 * noise

    return {name: grown(name, value) for name, value in net.state_dict().items()}


def write_data(path: Path, side: int, classes: int) -> None:
    """An EDM data set: PNG files and ``dataset.json``."""
    rng = numpy_generator(0, "data")
    with zipfile.ZipFile(path, "w") as archive:
        labels = []
        for number in range(IMAGES):
            name, stream = f"00000/img{number:08d}.png", io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(stream, "PNG")
            archive.writestr(name, stream.getvalue())
            labels.append([name, int(rng.integers(classes)) if classes else 0])
        archive.writestr("dataset.json", json.dumps({"labels": labels if classes else None}))


def write_latents(path: Path, side: int, classes: int) -> None:
    """An EDM2 data set: mean and deviation of every latent, and ``dataset.json``."""
    rng = numpy_generator(0, "data")
    with zipfile.ZipFile(path, "w") as archive:
        labels = []
        for number in range(IMAGES):
            name, stream = f"00000/img-mean-std-{number:08d}.npy", io.BytesIO()
            mean = 4 * rng.standard_normal((4, side, side))
            np.save(stream, np.concatenate([mean, rng.random((4, side, side))]).astype(np.float32))
            archive.writestr(name, stream.getvalue())
            labels.append([name, int(rng.integers(classes))])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


def write_autoencoder(folder: Path) -> None:
    """A diffusers folder of an autoencoder with the strides and channels of Stable Diffusion's."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
        )
    net.save_pretrained(folder)


def statistics() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of features."""
    rng = numpy_generator(1, "data")
    root = rng.standard_normal((FEATURES, FEATURES))
    return rng.standard_normal(FEATURES), root @ root.T / FEATURES


def write_edm2_reference(path: Path) -> None:
    """Statistics as EDM2 publishes them: a pickle of dictionaries of arrays."""
    mu, sigma = statistics()
    path.write_bytes(pickle.dumps({"num_images": 50, "fid": {"mu": mu, "sigma": sigma}}))


def write_reference(path: Path) -> None:
    """Statistics as EDM publishes them: mean and covariance, no count."""
    mu, sigma = statistics()
    np.savez(path, mu=mu, sigma=sigma)


def write_extractor(path: Path) -> None:
    """TorchScript weights of the feature network."""
    write_torchscript(path, SmallInception())


def write_asset(asset: Asset, path: Path, suite: Suite) -> None:
    """One file of a suite, by its kind and format."""
    config, model = CONFIGS[suite.name], suite.model
    assert model is not None
    seed = sum(map(ord, asset.id))
    if asset.kind == "autoencoder":
        write_autoencoder(path)
    elif asset.kind == "dataset" and model.network == "EDM2UNet":
        write_latents(path, model.resolution, model.classes)
    elif asset.kind == "dataset":
        write_data(path, model.resolution, model.classes)
    elif path.suffix == ".pkl" and asset.kind == "fid_reference":
        write_edm2_reference(path)
    elif asset.kind == "fid_reference":
        write_reference(path)
    elif asset.kind == "feature_extractor":
        write_extractor(path)
    elif isinstance(config, EDM2Config):
        write_edm2(path, config, weights(config, seed))
    elif path.suffix == ".bin":  # DMD2: a bare state dict
        torch.save(weights(config, seed), path)
    else:
        write_edm(path, config, weights(config, seed))


def write_mirror(folder: Path, suite: Suite) -> dict[str, bytes]:
    """Every file of a suite under ``folder/ID/NAME``; returns them by that name."""
    files = {}
    for id_ in suite.all_assets:
        asset = find(id_)
        path = folder / id_ / asset.file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_asset(asset, path, suite)
        if asset.file:  # folders come from the hub's own tools
            files[f"{id_}/{asset.file}"] = path.read_bytes()
    return files


def without_digests(suite: Suite, patch: pytest.MonkeyPatch) -> None:
    """Small files are not refused for the digests of the real ones."""
    for id_ in suite.all_assets:
        patch.setitem(assets(), id_, dataclasses.replace(assets()[id_], sha256=None, size=None))
    for id_, law in list(shipped_protocols().items()):
        if law.extractor and law.extractor.name == "inception-nvidia":
            asset = law.extractor.asset.model_copy(update={"sha256": None})
            part = law.extractor.model_copy(update={"asset": asset, "dimension": FEATURES})
            patch.setitem(shipped_protocols(), id_, law.model_copy(update={"extractor": part}))
    own = dataclasses.replace(ENTRIES["inception-nvidia"], sha256=None, dimension=FEATURES)
    patch.setitem(ENTRIES, "inception-nvidia", own)
    patch.setattr(NvidiaInception, "dimension", FEATURES)
