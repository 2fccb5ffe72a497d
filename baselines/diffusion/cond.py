"""What a sample is conditioned on. Labels stay integers until the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

NULL_LABEL = -1
SIZES = 6  # numbers that SDXL is told of a picture


@dataclass(frozen=True)
class Cond:
    """Frozen condition of a batch; every present tensor has the batch as first axis.

    Attributes:
        label: integer classes ``[B]`` (``NULL_LABEL`` for none), or None for unconditional models.
        text: encoded captions ``[B, L, E]``, or None.
        w: guidance strengths ``[B]`` in LCM's convention (0 is unguided), or None.
        augment: how training images were augmented ``[B, A]`` (EDM), or None for clean images.
        pooled: captions as one vector each ``[B, P]`` (SDXL), or None.
        sizes: height and width of the original picture, top and left of its crop, height and width that are
            asked for, in pixels ``[B, 6]`` (SDXL), or None.
    """

    label: Tensor | None = None
    text: Tensor | None = None
    w: Tensor | None = None
    augment: Tensor | None = None
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def _fields(self) -> tuple[Tensor | None, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> Cond:
        """The condition of some of the samples."""
        return Cond(*(None if t is None else t[index] for t in self._fields()))

    def null(self, empty: Cond | None = None) -> Cond:
        """The same batch without label and text (the unconditional branch of guidance); sizes stay.

        Args:
            empty: one sample of what stands for no caption: the encoded empty prompt (Stable Diffusion), or
                zeros for a network that was trained with them (SDXL).

        Raises:
            ValueError: there are captions, and ``empty`` is not given.
        """
        label = None if self.label is None else torch.full_like(self.label, NULL_LABEL)
        nothing = empty or Cond()
        text, pooled = none_like(self.text, nothing.text), none_like(self.pooled, nothing.pooled)
        return replace(self, label=label, text=text, pooled=pooled)

    def asked(self) -> dict[str, Tensor]:
        """What a network is given besides the label, by name: whatever is there."""
        names = [field.name for field in fields(self) if field.name != "label"]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def to(self, device: str | torch.device) -> Cond:
        """The same condition on another device."""
        return Cond(*(None if t is None else t.to(device) for t in self._fields()))

    @staticmethod
    def join(parts: Sequence[Cond]) -> Cond:
        """Concatenate batches along the first axis; all parts must carry the same fields."""
        joined = []
        for name in (field.name for field in fields(Cond)):
            values = [getattr(part, name) for part in parts]
            present = [v for v in values if v is not None]
            if present and len(present) != len(values):
                raise ValueError(
                    f"cannot join conditions: {name} is missing in {len(values) - len(present)} parts"
                )
            joined.append(torch.cat(present) if present else None)
        return Cond(*joined)


def none_like(captions: Tensor | None, empty: Tensor | None) -> Tensor | None:
    """What stands for no caption, for as many as there are; raises ValueError where nothing is known to."""
    if captions is None:
        return None
    if empty is None:
        raise ValueError("captions have no null of their own: give the encoded empty prompt of the model")
    return empty.to(captions).expand_as(captions)
