"""Which configuration a network has, read from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from baselines.checkpoints.architecture import DhariwalConfig, DiffusersConfig, EDM2Config, SongConfig
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.layout import Shapes

LEVEL = re.compile(r"enc\.(\d+)x\1_block\d+\.")


class Tensors:
    """Shapes below a prefix, looked up with a clear sentence for what is missing."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> None:
        self.prefix = prefix
        self.shapes: Shapes = {
            name.removeprefix(prefix): tuple(shape)
            for name, shape in shapes.items()
            if name.startswith(prefix)
        }

    def shape(self, name: str, length: int) -> tuple[int, ...]:
        """Shape of a tensor of ``length`` axes."""
        found = self.shapes.get(name)
        if found is None:
            raise CheckpointError(f"lacks {self.prefix}{name}")
        if len(found) != length:
            raise CheckpointError(f"has {self.prefix}{name} of shape {found}, expected {length} axes")
        return found

    def columns(self, name: str) -> int:
        """Input width of an optional matrix; 0 without it."""
        return self.shape(name, 2)[1] if name in self.shapes else 0

    def sides(self) -> list[int]:
        """Sides of the levels of the encoder, largest first."""
        found = {int(match[1]) for name in self.shapes if (match := LEVEL.match(name))}
        if not found:
            raise CheckpointError(f"lacks the encoder blocks {self.prefix}enc.*_block*")
        return sorted(found, reverse=True)

    def blocks(self, side: int) -> int:
        """Blocks of the encoder at a level."""
        names = {name.split(".")[1] for name in self.shapes if name.startswith(f"enc.{side}x{side}_block")}
        return len(names)

    def attending(self, part: str) -> tuple[int, ...]:
        """Sides at which the encoder's blocks attend to all positions."""
        return tuple(s for s in self.sides() if f"enc.{s}x{s}_block0.{part}.weight" in self.shapes)


def song_config(shapes: Mapping[str, tuple[int, ...]], dropout: float = 0.0) -> SongConfig:
    """Configuration of a SongUNet; raises CheckpointError when what it is read from is missing."""
    t = Tensors(shapes, "model.")
    sides = t.sides()
    top = f"{sides[0]}x{sides[0]}"
    model, channels = t.shape(f"enc.{top}_conv.weight", 4)[:2]
    emb, noise = t.shape("map_layer0.weight", 2)
    low = f"enc.{sides[-1]}x{sides[-1]}" if len(sides) > 1 else ""
    residual, skip = f"{low}_aux_residual.weight" in t.shapes, f"{low}_aux_skip.weight" in t.shapes
    taps = t.shape(f"{low}_down.conv0.resample_filter", 4)[-1] if low else 2
    if taps not in (2, 4):
        raise CheckpointError(f"has a resampling filter of {taps} taps, expected 2 or 4")
    widths = [t.shape(f"enc.{s}x{s}_block0.conv0.weight", 4)[0] for s in sides]
    return SongConfig(
        resolution=sides[0],
        channels=channels,
        out_channels=t.shape(f"dec.{top}_aux_conv.weight", 4)[0],
        label_dim=t.columns("map_label.weight"),
        augment_dim=t.columns("map_augment.weight"),
        model_channels=model,
        channel_mult=tuple(width // model for width in widths),
        channel_mult_emb=emb // model,
        num_blocks=t.blocks(sides[0]),
        attn_resolutions=t.attending("qkv"),
        embedding_type="fourier" if "map_noise.freqs" in t.shapes else "positional",
        encoder_type="residual" if residual else "skip" if skip else "standard",
        channel_mult_noise=noise // model,
        resample_filter=(1, 1) if taps == 2 else (1, 3, 3, 1),
        dropout=dropout,
    )


def dhariwal_config(shapes: Mapping[str, tuple[int, ...]], dropout: float = 0.0) -> DhariwalConfig:
    """Configuration of a DhariwalUNet; raises CheckpointError when what it is read from is missing."""
    t = Tensors(shapes, "model.")
    sides = t.sides()
    emb, model = t.shape("map_layer0.weight", 2)
    widths = [t.shape(f"enc.{s}x{s}_block0.conv0.weight", 4)[0] for s in sides]
    return DhariwalConfig(
        resolution=sides[0],
        channels=t.shape(f"enc.{sides[0]}x{sides[0]}_conv.weight", 4)[1],
        out_channels=t.shape("out_conv.weight", 4)[0],
        label_dim=t.columns("map_label.weight"),
        augment_dim=t.columns("map_augment.weight"),
        model_channels=model,
        channel_mult=multiples(widths, model),
        channel_mult_emb=emb // model,
        num_blocks=t.blocks(sides[0]),
        attn_resolutions=t.attending("qkv"),
        dropout=dropout,
    )


def multiples(widths: list[int], model: int) -> tuple[float, ...]:
    """Widths of the levels in units of the model's channels; ADM-512 begins with one half."""
    return tuple(w // model if w % model == 0 else w / model for w in widths)


def edm2_config(shapes: Mapping[str, tuple[int, ...]], dropout: float = 0.0) -> EDM2Config:
    """Configuration of an EDM2 network; raises CheckpointError when what it is read from is missing."""
    t, outer = Tensors(shapes, "unet."), Tensors(shapes, "")
    sides = t.sides()
    emb, noise = t.shape("emb_noise.weight", 2)
    return EDM2Config(
        resolution=sides[0],
        channels=t.shape(f"enc.{sides[0]}x{sides[0]}_conv.weight", 4)[1] - 1,
        label_dim=t.columns("emb_label.weight"),
        widths=tuple(t.shape(f"enc.{s}x{s}_block0.conv_res0.weight", 4)[0] for s in sides),
        noise_channels=noise,
        emb_channels=emb,
        num_blocks=t.blocks(sides[0]),
        attn_resolutions=t.attending("attn_qkv"),
        logvar_channels=outer.shape("logvar_fourier.freqs", 1)[0],
        dropout=dropout,
    )


def diffusers_config(shapes: Mapping[str, tuple[int, ...]]) -> DiffusersConfig:
    """Configuration of a diffusers UNet; raises CheckpointError when what it is read from is missing."""
    t = Tensors(shapes, "")
    levels = sorted({int(name.split(".")[1]) for name in t.shapes if re.match(r"down_blocks\.\d+\.", name)})
    if levels != list(range(len(levels))) or not levels:
        raise CheckpointError(f"has down_blocks {levels}, expected 0, 1, ...")
    keys = (name for name in t.shapes if name.endswith("attn2.to_k.weight"))
    cross = next((t.columns(name) for name in keys), 0)
    for name in (
        "conv_norm_out.weight",
        "mid_block.resnets.0.conv1.weight",
        "time_embedding.linear_2.weight",
    ):
        if name not in t.shapes:
            raise CheckpointError(f"lacks {name}")
    widths = tuple(t.shape(f"down_blocks.{k}.resnets.0.conv1.weight", 4)[0] for k in levels)
    return DiffusersConfig(
        in_channels=t.shape("conv_in.weight", 4)[1],
        out_channels=t.shape("conv_out.weight", 4)[0],
        widths=widths,
        cross_attention_dim=cross,
        time_cond_dim=t.columns("time_embedding.cond_proj.weight"),
        addition_dim=t.columns("add_embedding.linear_1.weight"),
    )
