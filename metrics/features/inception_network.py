"""The Inception network of 2015 that FID rests on, arranged for speed: same numbers, other order of work.

Batch norm is folded into the convolutions, and activations are channels-last. An average pool before a 1x1
convolution is taken after it, on fewer channels (both are linear, and the pool keeps a constant bias); a
rectifier before a maximum is taken after it, on fewer pixels; the rectifiers at the end of a block write
where the block's output is joined. Names of parameters are those of torch-fidelity's file. The layout follows
TensorFlow's graph: average pools do not count the padding, and the last block pools by maximum.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

BN_EPS = 1e-3
CLASSES = 1008
# the convolutions that do not pad to the size of their input, with their strides
VALID = {
    "Conv2d_1a_3x3": 2,
    "Conv2d_2a_3x3": 1,
    "Conv2d_4a_3x3": 1,
    "Mixed_6a.branch3x3": 2,
    "Mixed_6a.branch3x3dbl_3": 2,
    "Mixed_7a.branch3x3_2": 2,
    "Mixed_7a.branch7x7x3_4": 2,
}
NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


class InceptionNetwork:
    """From pixels ``[B, 3, 299, 299]`` in [-1, 1] to pooled features ``[B, 2048]`` and their extras.

    Raises:
        ValueError: the state dict lacks a tensor or has one too many.
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        names = [key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")]
        known = {f"{name}.{part}" for name in names for part in ("conv.weight", *NORM)}
        found = {key for key in state if not key.endswith("num_batches_tracked")}
        if wrong := (known | {"fc.weight", "fc.bias"}) ^ found:
            raise ValueError(f"tensors missing or not known: {', '.join(sorted(wrong)[:4])}")
        self.convs = {name: tuple(x.to(device) for x in _folded(state, name)) for name in names}
        self.classes = state["fc.weight"].float().to(device)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features ``[B, 2048]``, and the spatial ones of ADM's sFID ``[B, 2023]``.

        Spatial: the first 7 channels of the first branch of the block "mixed_6", 17 x 17, channels last.
        """
        x = self._stem(x.contiguous(memory_format=torch.channels_last))
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._block_a(block, x)
        x = self._block_b("Mixed_6a", x)
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d"):
            x = self._block_c(block, x)
        spatial = x[:, :7].permute(0, 2, 3, 1).flatten(1)
        x = self._block_c("Mixed_6e", x)
        x = self._block_d("Mixed_7a", x)
        x = self._block_e("Mixed_7b", x, self._average_pool("Mixed_7b", x))
        # maximum, not average: a slip of the network of 2015 that all its ports keep
        x = self._block_e("Mixed_7c", x, self._conv("Mixed_7c.branch_pool", F.max_pool2d(x, 3, 1, 1)))
        return x.mean(dim=(2, 3)), spatial

    def logits(self, pool: Tensor) -> Tensor:
        """Class logits ``[B, 1008]`` without bias."""
        return pool @ self.classes.T

    def _conv(self, name: str, x: Tensor) -> Tensor:
        """Convolution with the folded batch norm, before the rectifier."""
        weight, bias = self.convs[name]
        height, width = weight.shape[2:]
        padding = (0, 0) if name in VALID else (height // 2, width // 2)
        return F.conv2d(x, weight, bias, VALID.get(name, 1), padding)

    def _chain(self, block: str, names: tuple[str, ...], x: Tensor) -> Tensor:
        """Convolutions with rectifiers between them, none after the last."""
        for name in names[:-1]:
            x = F.relu_(self._conv(f"{block}.{name}", x))
        return self._conv(f"{block}.{names[-1]}", x)

    def _average_pool(self, block: str, x: Tensor) -> Tensor:
        """Average pool and 1x1 convolution; the convolution goes first."""
        return F.avg_pool2d(self._conv(f"{block}.branch_pool", x), 3, 1, 1, count_include_pad=False)

    def _stem(self, x: Tensor) -> Tensor:
        x = F.relu_(self._conv("Conv2d_1a_3x3", x))
        x = F.relu_(self._conv("Conv2d_2a_3x3", x))
        x = F.relu_(F.max_pool2d(self._conv("Conv2d_2b_3x3", x), 3, 2))
        x = F.relu_(self._conv("Conv2d_3b_1x1", x))
        return F.relu_(F.max_pool2d(self._conv("Conv2d_4a_3x3", x), 3, 2))

    def _block_a(self, block: str, x: Tensor) -> Tensor:
        return _joined(
            self._conv(f"{block}.branch1x1", x),
            self._chain(block, ("branch5x5_1", "branch5x5_2"), x),
            self._chain(block, ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), x),
            self._average_pool(block, x),
        )

    def _block_b(self, block: str, x: Tensor) -> Tensor:
        return _joined(
            self._conv(f"{block}.branch3x3", x),
            self._chain(block, ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), x),
            F.max_pool2d(x, 3, 2),
        )

    def _block_c(self, block: str, x: Tensor) -> Tensor:
        return _joined(
            self._conv(f"{block}.branch1x1", x),
            self._chain(block, ("branch7x7_1", "branch7x7_2", "branch7x7_3"), x),
            self._chain(block, tuple(f"branch7x7dbl_{i}" for i in range(1, 6)), x),
            self._average_pool(block, x),
        )

    def _block_d(self, block: str, x: Tensor) -> Tensor:
        return _joined(
            self._chain(block, ("branch3x3_1", "branch3x3_2"), x),
            self._chain(block, tuple(f"branch7x7x3_{i}" for i in range(1, 5)), x),
            F.max_pool2d(x, 3, 2),
        )

    def _block_e(self, block: str, x: Tensor, pooled: Tensor) -> Tensor:
        single = F.relu_(self._conv(f"{block}.branch3x3_1", x))
        double = F.relu_(self._chain(block, ("branch3x3dbl_1", "branch3x3dbl_2"), x))
        return _joined(
            self._conv(f"{block}.branch1x1", x),
            self._conv(f"{block}.branch3x3_2a", single),
            self._conv(f"{block}.branch3x3_2b", single),
            self._conv(f"{block}.branch3x3dbl_3a", double),
            self._conv(f"{block}.branch3x3dbl_3b", double),
            pooled,
        )


def _joined(*branches: Tensor) -> Tensor:
    """Branches ``[B, C_i, H, W]`` side by side, rectified on the way."""
    count, _, height, width = branches[0].shape
    joined = branches[0].new_empty(count, height, width, sum(branch.shape[1] for branch in branches))
    joined = joined.permute(0, 3, 1, 2)  # channels last
    first = 0
    for branch in branches:
        torch.clamp_min(branch, 0, out=joined[:, first : first + branch.shape[1]])
        first += branch.shape[1]
    return joined


def _folded(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm that follows it, folded in fp64."""
    weight = state[f"{name}.conv.weight"].double()
    gamma, beta, mean, variance = (state[f"{name}.{part}"].double() for part in NORM)
    scale = gamma / (variance + BN_EPS).sqrt()
    folded = (weight * scale[:, None, None, None]).float()
    return folded.contiguous(memory_format=torch.channels_last), (beta - mean * scale).float()
