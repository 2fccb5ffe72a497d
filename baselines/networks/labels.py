"""Integer labels become what the published networks take."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(label: Tensor | None, classes: int, emb: Tensor) -> Tensor:
    """Rows ``[B, classes]`` in emb's precision; None and labels outside 0..classes-1 give zeros."""
    if label is None:
        return emb.new_zeros(len(emb), classes)
    return (label[:, None] == torch.arange(classes, device=label.device)).to(emb.dtype)


def drop_labels(label: Tensor | None, probability: float, training: bool) -> Tensor | None:
    """Labels ``[B]``, hidden (-1) with a probability in training; drawn where dropout draws."""
    if label is None or not training or not probability:
        return label
    kept = F.dropout(torch.ones_like(label, dtype=torch.float32), probability) > 0
    return torch.where(kept, label, -1)
