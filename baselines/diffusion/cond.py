"""What a sample is conditioned on. Labels stay integers until the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

NULL_LABEL = -1


@dataclass(frozen=True)
class Cond:
    """Frozen condition of a batch; every present tensor has the batch as first axis.

    Attributes:
        label: integer classes ``[B]`` (``NULL_LABEL`` for none), or None for unconditional models.
        text: encoded captions ``[B, L, E]``, or None.
        w: guidance strengths ``[B]`` in LCM's convention (0 is unguided), or None.
        augment: how training images were augmented ``[B, A]`` (EDM), or None for clean images.
    """

    label: Tensor | None = None
    text: Tensor | None = None
    w: Tensor | None = None
    augment: Tensor | None = None

    def _fields(self) -> tuple[Tensor | None, ...]:
        return self.label, self.text, self.w, self.augment

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> Cond:
        """The condition of some of the samples."""
        return Cond(*(None if t is None else t[index] for t in self._fields()))

    def null(self, empty: Tensor | None = None) -> Cond:
        """The same batch without label and text (the unconditional branch of guidance).

        Args:
            empty: what stands for no caption ``[L, E]``: the encoded empty prompt (Stable Diffusion), or
                zeros for a network that was trained with them.

        Raises:
            ValueError: there are captions, and ``empty`` is not given.
        """
        label = None if self.label is None else torch.full_like(self.label, NULL_LABEL)
        if self.text is not None and empty is None:
            raise ValueError("captions have no null of their own: give the encoded empty prompt of the model")
        text = None if self.text is None or empty is None else empty.to(self.text).expand_as(self.text)
        return replace(self, label=label, text=text)

    def asked(self) -> dict[str, Tensor]:
        """What a network is given besides the label, by name: whatever is there."""
        fields = {"text": self.text, "w": self.w, "augment": self.augment}
        return {name: value for name, value in fields.items() if value is not None}

    def to(self, device: str | torch.device) -> Cond:
        """The same condition on another device."""
        return Cond(*(None if t is None else t.to(device) for t in self._fields()))

    @staticmethod
    def join(parts: Sequence[Cond]) -> Cond:
        """Concatenate batches along the first axis; all parts must carry the same fields."""
        fields = []
        for name in ("label", "text", "w", "augment"):
            values = [getattr(part, name) for part in parts]
            present = [v for v in values if v is not None]
            if present and len(present) != len(values):
                raise ValueError(
                    f"cannot join conditions: {name} is missing in {len(values) - len(present)} parts"
                )
            fields.append(torch.cat(present) if present else None)
        return Cond(*fields)
