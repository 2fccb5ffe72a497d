"""OpenAI's U-Nets (ADM; the CM fork) under the names and in the channel order of ``DhariwalUNet``.

Sources: Dhariwal and Nichol (2021), Song et al. (2023). The nets are those of EDM's ADM, with three
differences in the file: names, the order of the attention's channels, and the label embedding transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor

from baselines.checkpoints.architecture import DhariwalConfig
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.inference import Tensors, multiples
from baselines.checkpoints.layout import HEAD, Shapes, check_layout, expected_shapes

LOWEST = 8  # side of the lowest level in all published nets; the files do not state the resolution
GROUPED = 128  # from here on 32 groups (OpenAI) and a quarter of the channels, at most 32 (EDM), agree

PARTS = {
    "norm0": "0.in_layers.0",
    "conv0": "0.in_layers.2",
    "affine": "0.emb_layers.1",
    "norm1": "0.out_layers.0",
    "conv1": "0.out_layers.3",
    "skip": "0.skip_connection",
    "norm2": "1.norm",
    "qkv": "1.qkv",
    "proj": "1.proj_out",
}
TOP = {"map_layer0": "time_embed.0", "map_layer1": "time_embed.2", "map_label": "label_emb"}
LAST = {"out_norm": "out.0", "out_conv": "out.2"}


class AttentionOrder(Enum):
    """How the rows of qkv are ordered: by (q|k|v, head, channel) or by (head, q|k|v, channel)."""

    NEW = "new"
    LEGACY = "legacy"

    def reorder(self, rows: Tensor) -> Tensor:
        """Rows ``[3C, ...]`` in EDM's order (head, channel, q|k|v)."""
        width = len(rows) // 3
        if width % HEAD or len(rows) != 3 * width:
            raise CheckpointError(f"has attention over {width} channels, expected a multiple of {HEAD}")
        heads, tail = width // HEAD, rows.shape[1:]
        if self is AttentionOrder.NEW:
            return rows.reshape(3, heads, HEAD, *tail).movedim(0, 2).reshape(rows.shape)
        return rows.reshape(heads, 3, HEAD, *tail).movedim(1, 2).reshape(rows.shape)


def openai_config(shapes: Mapping[str, tuple[int, ...]], resolution: int | None = None) -> DhariwalConfig:
    """Configuration of a net from OpenAI's names and shapes.

    Args:
        resolution: side of the images; None: the one that makes the lowest level 8x8, as all published nets.

    Raises:
        CheckpointError: what it is read from is missing, or the net is of a kind that was not published.
    """
    t = Tensors(shapes, "")
    emb, model = t.shape("time_embed.0.weight", 2)
    inputs = 1 + max(int(m[1]) for name in t.shapes if (m := re.match(r"input_blocks\.(\d+)\.", name)))
    ups = {m[0] for name in t.shapes if (m := re.match(r"output_blocks\.\d+\.[12]\.in_layers", name))}
    levels = len(ups) + 1
    if inputs % levels or any(".op." in name for name in t.shapes):
        raise CheckpointError(f"has {inputs} input blocks on {levels} levels, which no published net has")
    blocks, side = inputs // levels - 1, resolution or LOWEST << (levels - 1)
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    widths = [t.shape(f"input_blocks.{k}.0.in_layers.2.weight", 4)[0] for k in firsts]
    if min(widths) < GROUPED:
        raise CheckpointError(f"has levels of {min(widths)} channels, expected {GROUPED} or more")
    return DhariwalConfig(
        resolution=side,
        channels=t.shape("input_blocks.0.0.weight", 4)[1],
        out_channels=t.shape("out.2.weight", 4)[0],
        label_dim=t.shape("label_emb.weight", 2)[0] if "label_emb.weight" in t.shapes else 0,
        augment_dim=0,
        model_channels=model,
        channel_mult=multiples(widths, model),
        channel_mult_emb=emb // model,
        num_blocks=blocks,
        attn_resolutions=tuple(
            side >> level for level, k in enumerate(firsts) if f"input_blocks.{k}.1.qkv.weight" in t.shapes
        ),
    )


def openai_names(config: DhariwalConfig) -> dict[str, str]:
    """OpenAI's name for every tensor of a DhariwalUNet, without the constant resampling filters."""
    homes = block_homes(config)
    names = {}
    for name in expected_shapes(config):
        if name.endswith("resample_filter"):
            continue
        where, _, suffix = name.removeprefix("model.").rpartition(".")
        part, _, layer = where.partition(".")[2].partition(".")
        if where in TOP or where in LAST:
            names[name] = f"{(TOP | LAST)[where]}.{suffix}"
        elif not layer:
            names[name] = f"input_blocks.0.0.{suffix}"
        else:
            index, rest = PARTS[layer].split(".", 1)
            home, first = homes[f"{where.partition('.')[0]}.{part}"]
            names[name] = f"{home}.{first + int(index)}.{rest}.{suffix}"
    return names


def block_homes(config: DhariwalConfig) -> dict[str, tuple[str, int]]:
    """For every block of ours, OpenAI's block and the index in it of the residual part."""
    names = list(dict.fromkeys(n.removeprefix("model.") for n in expected_shapes(config)))
    ours = list(dict.fromkeys(".".join(n.split(".")[:2]) for n in names if n[:4] in ("enc.", "dec.")))
    homes: dict[str, tuple[str, int]] = {}
    encoder = [name for name in ours if name.startswith("enc.")]
    homes.update({name: (f"input_blocks.{k}", 0) for k, name in enumerate(encoder)})
    k = 0
    for name in (name for name in ours if name.startswith("dec.")):
        if name.endswith("_in0"):
            homes[name] = ("middle_block", 0)
        elif name.endswith("_in1"):
            homes[name] = ("middle_block", 2)
        elif name.endswith("_up"):  # it is the tail of the block before, behind its attention
            below = int(name.removeprefix("dec.").partition("x")[0]) // 2
            homes[name] = (f"output_blocks.{k - 1}", 2 if below in config.attn_resolutions else 1)
        else:
            homes[name] = (f"output_blocks.{k}", 0)
            k += 1
    return homes


def attention_order(shapes: Mapping[str, tuple[int, ...]], levels: int) -> AttentionOrder:
    """The order of the published nets: new in the CM fork and at 64x64, legacy in ADM's larger nets."""
    forked = any(name.endswith("qkv.weight") and len(shape) == 4 for name, shape in shapes.items())
    return AttentionOrder.NEW if forked or levels <= 4 else AttentionOrder.LEGACY


def from_openai(
    state: Mapping[str, Tensor], config: DhariwalConfig, order: AttentionOrder
) -> dict[str, Tensor]:
    """The state dict of a DhariwalUNet (names ``model.*``) with the weights of an OpenAI state dict.

    Raises:
        CheckpointError: parameters are missing, unexpected or of a wrong shape.
    """
    names, expected = openai_names(config), expected_shapes(config)
    check_layout(
        dict.fromkeys(state, ()), dict.fromkeys(names.values(), ())
    )  # names first, in the file's own words
    result = {}
    for name, shape in expected.items():
        if name.endswith("resample_filter"):
            result[name] = torch.full(shape, 0.25)
            continue
        value = state[names[name]]
        if name == "model.map_label.weight":
            value = value.T.contiguous()
        elif ".qkv." in name:
            value = order.reorder(value)
        if ".qkv.weight" in name or ".proj.weight" in name:
            value = value.reshape(*value.shape[:2], 1, 1)
        result[name] = value
    found: Shapes = {name: tuple(value.shape) for name, value in result.items()}
    check_layout(found, expected)
    return result
