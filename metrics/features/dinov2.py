"""DINOv2 features (Oquab et al., 2023, arXiv:2304.07193) as EDM2 takes them for FD-DINOv2.

A plain vision transformer whose parameter names are those of the published state dict. The published weights
were trained at 37 x 37 patches; at 224 pixels (16 x 16) the positions are interpolated by the published rule,
bicubic by a scale factor of (16 + 0.1) / 37.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.features.digest import checked_digest, misfit
from metrics.features.extractor import Extra, Extractor, Features
from metrics.features.resize import Resize, torch_bicubic

NAME = "dinov2-vitl14"
PATCH = 14
OFFSET = 0.1  # added to the number of patches in the scale factor of the published interpolation
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD = 64  # features of one attention head in every published size


class Attention(nn.Module):
    """Self-attention over tokens ``[B, T, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // HEAD, 1)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


class Mlp(nn.Module):
    """Two layers with a GELU between them, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Scale(nn.Module):
    """A learned factor for each channel of a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Attention and MLP, each normalised before and scaled after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.ls1 = Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.ls2 = Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Patches of 14 x 14 pixels to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class DinoNetwork(nn.Module):
    """From normalised pixels ``[B, 3, H, W]``, sides multiples of 14, to the class token ``[B, width]``."""

    def __init__(self, width: int, depth: int, grid: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # of the training; in the file, not used here
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        positions = self._positions(x.shape[2] // PATCH, x.shape[3] // PATCH)
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]

    def _positions(self, rows: int, columns: int) -> Tensor:
        grid = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if rows == columns == grid:
            return self.pos_embed
        known = self.pos_embed[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
        factors = ((rows + OFFSET) / grid, (columns + OFFSET) / grid)
        found = F.interpolate(known, scale_factor=factors, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], found.flatten(2).transpose(1, 2)], dim=1)


class DinoFeatures(Extractor):
    """The class token of images resized to 224 x 224 by PyTorch's antialiased bicubic."""

    name = NAME
    resize = Resize.TORCH_BICUBIC_224

    def __init__(self, network: DinoNetwork, sha256: str, device: torch.device) -> None:
        self.network, self.sha256, self.device = (
            network.to(device).eval().requires_grad_(False),
            sha256,
            device,
        )
        self.dimension = network.cls_token.shape[-1]
        self.mean, self.std = (torch.tensor(x, device=device)[:, None, None] for x in (MEAN, STD))

    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        return Features(self.network((torch_bicubic(images) / 255 - self.mean) / self.std))


def load_dinov2(weights: Path, sha256: str | None, device: str) -> DinoFeatures:
    """The extractor from a published state dict (without registers, MLP blocks), read without executing it.

    Width, depth and grid are read off the tensors.

    Raises:
        ValueError: no such file, another digest, or tensors that do not fit the network.
    """
    digest = checked_digest(NAME, weights, sha256)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        with torch.device("meta"):  # no draw from the global generator
            network = DinoNetwork(
                state["cls_token"].shape[-1], depth, round((state["pos_embed"].shape[1] - 1) ** 0.5)
            )
        network.load_state_dict(state, assign=True)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise misfit(NAME, weights, "the DINOv2 network", error) from error
    return DinoFeatures(network.float(), digest, torch.device(device))
