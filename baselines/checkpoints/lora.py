"""LoRAs for diffusers UNets: reading the published namings, and merging into the weights they change.

Source: Hu et al. (2022): ``W + scale (alpha / rank) B A``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from baselines.checkpoints.architecture import LoRAConfig
from baselines.checkpoints.errors import CheckpointError, some

FACTOR = re.compile(
    r"(?P<layer>.+?)\.(?:lora_|lora\.|lora_linear_layer\.)(?P<side>A|B|down|up)(?:\.default)?\.weight"
)
ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
PREFIXES = ("base_model.model.", "unet.", "lora_unet_")
DOWN = ("A", "down")


@dataclass(frozen=True)
class Factors:
    """Change of one layer: ``down [rank, in, ...]``, ``up [out, rank, ...]``, scaled by alpha / rank."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Inner width."""
        return len(self.down)

    def change(self, shape: tuple[int, ...]) -> Tensor:
        """What is added to a weight of that shape, in float32."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return (product * (self.alpha / self.rank)).reshape(shape)


def is_lora(names: Mapping[str, object]) -> bool:
    """Whether a file holds low-rank factors."""
    return any(FACTOR.fullmatch(name) for name in names)


def lora_factors(state: Mapping[str, Tensor]) -> dict[str, Factors]:
    """Factors by layer, named as in the file without its prefix; without an alpha, alpha is the rank.

    Raises:
        CheckpointError: a factor lacks its partner, ranks differ, or something is no factor for a UNet.
    """
    sides: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    strange = []
    for name, value in state.items():
        if match := FACTOR.fullmatch(name):
            sides.setdefault(match["layer"], {})["down" if match["side"] in DOWN else "up"] = value
        elif (match := ALPHA.fullmatch(name)) and value.numel() == 1:
            alphas[match["layer"]] = float(value)
        else:
            strange.append(name)
    strange += [layer for layer in sides if layer.startswith(("lora_te", "text_encoder"))]
    if strange:
        raise CheckpointError(f"has {some(strange)}, which are no LoRA factors of a UNet")
    result = {}
    for layer, pair in sides.items():
        if len(pair) != 2 or pair["up"].ndim < 2 or pair["up"].shape[1] != len(pair["down"]):
            raise CheckpointError(f"has no matching pair of factors for {layer}")
        alpha = alphas.pop(layer, float(len(pair["down"])))
        result[bare(layer)] = Factors(pair["down"], pair["up"], alpha)
    if alphas:
        raise CheckpointError(f"has an alpha without factors for {some(alphas)}")
    return result


def bare(layer: str) -> str:
    """A layer without the prefixes of the namings."""
    for prefix in PREFIXES:
        layer = layer.removeprefix(prefix)
    return layer


def lora_config(factors: Mapping[str, Factors]) -> LoRAConfig:
    """How many layers change, and the ranks that occur."""
    return LoRAConfig(len(factors), tuple(sorted({f.rank for f in factors.values()})))


def merge_lora(
    base: Mapping[str, Tensor], lora: Mapping[str, Tensor], scale: float = 1.0
) -> dict[str, Tensor]:
    """Base weights with a LoRA added; the inputs are left as they are, unchanged weights are shared.

    Args:
        base: state dict of the UNet in diffusers' names.
        lora: tensors of a LoRA file (diffusers, peft or kohya naming).
        scale: strength; files without alpha (DMD2's) are made for 1.

    Raises:
        CheckpointError: the LoRA is for layers that the base lacks, or for other shapes.
    """
    weights = {name.removesuffix(".weight"): name for name in base if name.endswith(".weight")}
    flat = {layer.replace(".", "_"): name for layer, name in weights.items()}  # kohya has no dots
    factors = lora_factors(lora)
    targets = {layer: weights.get(layer) or flat.get(layer) for layer in factors}
    if unknown := [layer for layer, name in targets.items() if name is None]:
        raise CheckpointError(f"the LoRA changes {some(unknown)}, which the base network does not have")
    merged = dict(base)
    for layer, factor in factors.items():
        name = targets[layer]
        assert name is not None
        weight = base[name]
        if factor.up.shape[0] != len(weight) or factor.down[0].numel() != weight[0].numel():
            raise CheckpointError(f"the LoRA for {layer} does not fit {name} of shape {tuple(weight.shape)}")
        merged[name] = (weight.float() + scale * factor.change(tuple(weight.shape))).to(weight.dtype)
    return merged
