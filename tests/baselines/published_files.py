"""Tiny files of exactly the published formats: the same globals, layout and names.

EDM's persistence is played by stand-ins under its module names, only while a pickle is written.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.checkpoints.architecture import DhariwalConfig, EDM2Config, SongConfig
from baselines.checkpoints.layout import Shapes, expected_shapes
from baselines.checkpoints.openai import openai_names
from baselines.networks.layers import initialise
from baselines.streams import torch_generator

SONG = SongConfig(8, 3, 3, 4, 9, 8, (1, 2), 4, 1, (4,), dropout=0.13)
NCSNPP = SongConfig(
    8, 3, 3, 0, 9, 8, (2, 2), 4, 1, (4,), "fourier", "residual", 2, (1, 3, 3, 1), dropout=0.13
)
ADM = DhariwalConfig(16, 3, 3, 5, 0, 64, (1, 2), 4, 1, (16, 8), dropout=0.1)
EDM2 = EDM2Config(16, 4, 5, (64, 128), 64, 128, 1, (8,), 128)
OPENAI = DhariwalConfig(16, 3, 3, 5, 0, 128, (1, 2), 4, 1, (16, 8))
SOURCE = """# This work is licensed under a Creative Commons
# Attribution-NonCommercial-ShareAlike 4.0 International License.
raise SystemExit("the embedded source was run")
"""


def random_state(shapes: Shapes, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch_generator(seed, "init")
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def _reconstruct_persistent_obj(meta: object) -> None:
    raise AssertionError("only its name is written")


class Embedded:
    """An object that pickles as one of a class whose source is embedded."""

    def __init__(self, class_name: str, source: str = SOURCE, **state: Any) -> None:
        self.class_name, self.source, self.state = class_name, source, state

    def __reduce__(self) -> Any:
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.class_name}
        return _reconstruct_persistent_obj, (meta | {"state": self.state},)


class EasyDict(dict[str, Any]):
    """As EDM2's snapshots are."""


@contextmanager
def official_names() -> Iterator[None]:
    """Stand-ins are pickled under the official names."""
    modules = {
        name: ModuleType(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    }
    for module, value in {
        "torch_utils.persistence": _reconstruct_persistent_obj,
        "dnnlib.util": EasyDict,
    }.items():
        value.__module__ = module
        setattr(modules[module], value.__name__, value)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def module_state(**more: Any) -> dict[str, Any]:
    return {
        "training": False,
        "_parameters": {},
        "_buffers": {},
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": {},
        "_modules": {},
    } | more


def tree(state: dict[str, Tensor], classes: dict[str, str], prefix: str = "") -> Any:
    """Nested modules with these tensors; names ending in freqs, phases, filter and u are buffers."""
    own = module_state()
    children: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = value
        elif name in ("freqs", "phases", "resample_filter", "u"):
            own["_buffers"][name] = value
        else:
            own["_parameters"][name] = nn.Parameter(value, requires_grad=False)
    for head, below in children.items():
        own["_modules"][head] = tree(below, classes, f"{prefix}{head}.")
    if not prefix:
        own["_buffers"]["_scratch"] = torch.zeros(3)
        own["_non_persistent_buffers_set"] = {"_scratch"}
    if prefix.endswith(("enc.", "dec.")):
        container = nn.ModuleDict()
        container.__dict__.update(own)
        return container
    return Embedded(classes.get(prefix, "Layer"), **own)


ATTRIBUTES = {"sigma_min": 0, "sigma_max": float("inf"), "sigma_data": 0.5}


def edm_network(
    config: SongConfig | DhariwalConfig | EDM2Config,
    state: dict[str, Tensor],
    class_name: str = "EDMPrecond",
    **attributes: Any,
) -> Embedded:
    """The network that lies under ``ema``."""
    inner = "unet." if isinstance(config, EDM2Config) else "model."
    body = {SongConfig: "SongUNet", DhariwalConfig: "DhariwalUNet", EDM2Config: "UNet"}[type(config)]
    network = tree(state, {"": class_name, inner: body})
    network.state["_modules"][inner[:-1]].state.update(
        _init_args=(), _init_kwargs={"dropout": config.dropout}
    )
    images = {"img_resolution": config.resolution, "img_channels": config.channels}
    network.state.update(images, label_dim=config.label_dim, use_fp16=isinstance(config, DhariwalConfig))
    network.state.update(
        ATTRIBUTES | {"_init_args": (), "_init_kwargs": {"label_dim": np.float64(3)}} | attributes
    )
    return network


def dump(content: Any) -> bytes:
    with official_names():
        return pickle.dumps(content, protocol=4)


def write_edm(
    path: Path,
    config: SongConfig | DhariwalConfig = SONG,
    state: dict[str, Tensor] | None = None,
    **more: Any,
) -> dict[str, Tensor]:
    """A teacher: network, loss, augmentation, data set; returns its state dict."""
    state = random_state(expected_shapes(config)) if state is None else state
    loss = Embedded("EDMLoss", P_mean=np.float64(-1.2), P_std=1.2)
    content = {"ema": edm_network(config, state, **more), "loss_fn": loss, "augment_pipe": None}
    path.write_bytes(dump(content | {"dataset_kwargs": {"path": "data.zip", "use_labels": True}}))
    return state


def write_edm2(
    path: Path, config: EDM2Config = EDM2, state: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """A snapshot of EDM2: half precision, latents' statistics in the encoder."""
    state = state or random_state(expected_shapes(config))
    state = {name: value.half() for name, value in state.items()}
    scale = np.arange(1, 5, dtype=np.float32)
    encoder = Embedded("StabilityVAEEncoder", vae_name="vae", scale=scale, bias=-scale)
    path.write_bytes(dump(EasyDict(encoder=encoder, ema=edm_network(config, state, "Precond"))))
    return state


def openai_state(config: DhariwalConfig = OPENAI, forked: bool = True) -> dict[str, Tensor]:
    """State dict of the CM fork (``forked``: two-dimensional attention kernels) or of ADM."""
    shapes = expected_shapes(config)
    state = {}
    for ours, value in random_state({n: s for n, s in shapes.items() if "resample" not in n}).items():
        if ours == "model.map_label.weight":
            value = value.T.contiguous()
        if ours.endswith(("qkv.weight", "proj.weight")) and not forked:
            value = value[..., 0]
        state[openai_names(config)[ours]] = value
    return state


def diffusers_shapes(width: int = 8, cond: int = 0) -> Shapes:
    """The skeleton of a UNet of Stable Diffusion's kind."""
    to = {f"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_{x}.weight": (width, 6) for x in "kv"}
    shapes: Shapes = {
        "conv_in.weight": (width, 4, 3, 3),
        "time_embedding.linear_1.weight": (4 * width, width),
        "time_embedding.linear_2.weight": (4 * width, 4 * width),
        "down_blocks.0.resnets.0.conv1.weight": (width, width, 3, 3),
        **to,
        "mid_block.resnets.0.conv1.weight": (width, width, 3, 3),
        "conv_norm_out.weight": (width,),
        "conv_out.weight": (4, width, 3, 3),
    }
    return shapes | ({"time_embedding.cond_proj.weight": (width, cond)} if cond else {})


def legacy_bytes(content: Any) -> bytes:
    """What old torch wrote, and what lies inside an EDM pickle."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def write_torchscript(path: Path, module: nn.Module) -> None:
    """A network with drawn weights as TorchScript, as NVIDIA publishes its Inception."""
    initialise(module.eval(), torch_generator(2, "init"))
    with warnings.catch_warnings():  # PyTorch advises other formats; the published file has no other
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), str(path))
