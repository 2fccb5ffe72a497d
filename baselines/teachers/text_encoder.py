"""Captions to what a network sees of them: tokenizer, text encoder, and a memory of what was encoded."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.diffusion.cond import Cond

CHUNK = 16  # captions are always encoded as many at a time: sums depend on the shape of a batch


class LastStates(nn.Module):
    """Stable Diffusion's text model as ``ids [B, 1, L] -> Cond(text)``: its last hidden states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Cond:
        return Cond(text=self.model(ids[:, 0])[0])


class TwoTowers(nn.Module):
    """SDXL's text models as ``ids [B, 2, L] -> Cond(text, pooled)``.

    The text is the states of both before their last layer, side by side; pooled is the second's projection.
    """

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, ids: Tensor) -> Cond:
        one = self.first(ids[:, 0], output_hidden_states=True)
        two = self.second(ids[:, 1], output_hidden_states=True)
        text = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)
        return Cond(text=text, pooled=two.text_embeds)


class Tokens(NamedTuple):
    """Token ids of a caption by each tokenizer ``[T][L]``, and whether it was longer than the context."""

    ids: list[list[int]]
    cut: bool


class TextEncoder:
    """Conditions of captions, the same whatever is asked beside them; the latest are remembered.

    Args:
        tokenizers: transformers' tokenizers, T of them; model: ``ids [B, T, L] -> Cond``.
        sha256: digest of all of them, in whose name encodings are kept.
        context: L.
        zeros: no caption is zeros, not the encoded empty prompt (SDXL).
        folder: where encodings are kept between runs, one file a caption; None keeps none there.
        memory: captions that are remembered.
    """

    def __init__(
        self,
        tokenizers: Sequence[Any],
        model: Any,
        sha256: str,
        *,
        context: int,
        zeros: bool = False,
        folder: Path | None = None,
        memory: int = 4096,
    ) -> None:
        self.tokenizers, self.model, self.sha256 = tokenizers, model, sha256
        self.context, self.folder, self.memory = context, folder, memory
        self.latest: OrderedDict[str, Cond] = OrderedDict()
        self.cut: set[str] = set()  # captions seen that are longer than the context
        empty = self._encoded([self.tokens("").ids])  # one sample
        self.empty = Cond(**{n: torch.zeros_like(t) for n, t in empty.asked().items()}) if zeros else empty

    def kept_in(self, folder: Path) -> TextEncoder:
        """The same encoder and memory, with encodings kept in a folder between runs."""
        other = copy(self)
        other.folder = folder
        return other

    @property
    def report(self) -> str:
        """How many of the captions seen were cut."""
        return f"{len(self.cut)} captions were cut to {self.context} tokens"

    def tokens(self, caption: str) -> Tokens:
        """Begin, words, end, padded to the context; a longer caption is cut and still ends with the end."""
        found, cut = [], False
        for tokenizer in self.tokenizers:
            ids: list[int] = tokenizer(caption, verbose=False)["input_ids"]
            if len(ids) > self.context:
                ids, cut = [*ids[: self.context - 1], ids[-1]], True
            found.append(ids + [tokenizer.pad_token_id] * (self.context - len(ids)))
        return Tokens(found, cut)

    def key(self, caption: str) -> str:
        """Digest of encoder and caption."""
        return hashlib.sha256(f"{self.sha256}/{caption}".encode()).hexdigest()

    def __call__(self, captions: Sequence[str]) -> Cond:
        """What captions say, on the encoder's device.

        Raises:
            ValueError: a caption is empty; what is unconditional is asked for by guidance, not by a caption.
        """
        blank = next((number for number, caption in enumerate(captions) if not caption.strip()), None)
        if blank is not None:
            raise ValueError(f"caption {blank} of {len(captions)} is empty; expected words")
        found = {caption: self._recalled(caption) for caption in dict.fromkeys(captions)}
        fresh = [caption for caption, encoding in found.items() if encoding is None]
        ids = [self._noted(caption).ids for caption in fresh]
        for start in range(0, len(fresh), CHUNK):
            encoded = self._encoded(ids[start : start + CHUNK])
            for row, caption in enumerate(fresh[start : start + CHUNK]):
                found[caption] = self._kept(caption, encoded[[row]])
        return Cond.join([found[caption] for caption in captions])  # type: ignore[misc]

    def in_one_pass(self, captions: Sequence[str]) -> Cond:
        """What one batch says, nothing remembered or filled up, as a user waits for it."""
        return self._forward([self.tokens(caption).ids for caption in captions])

    def _encoded(self, ids: list[list[list[int]]]) -> Cond:
        """At most ``CHUNK`` captions, always computed as a whole chunk."""
        return self._forward(ids + [ids[0]] * (CHUNK - len(ids)))[: len(ids)]

    @torch.no_grad()
    def _forward(self, ids: list[list[list[int]]]) -> Cond:
        encoded: Cond = self.model(torch.tensor(ids, device=next(self.model.parameters()).device))
        return encoded

    def _noted(self, caption: str) -> Tokens:
        found = self.tokens(caption)
        if found.cut:
            self.cut.add(caption)
        return found

    def _path(self, caption: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.key(caption)}.safetensors"

    def _recalled(self, caption: str) -> Cond | None:
        if caption in self.latest:
            self.latest.move_to_end(caption)
            return self.latest[caption]
        path = self._path(caption)
        if path is None or not path.is_file():
            return None
        self._noted(caption)
        place = str(next(self.model.parameters()).device)
        found = {name: value[None] for name, value in load_file(path, device=place).items()}
        return self._remembered(caption, Cond(**found))

    def _remembered(self, caption: str, encoding: Cond) -> Cond:
        self.latest[caption] = encoding
        if len(self.latest) > self.memory:
            self.latest.popitem(last=False)
        return encoding

    def _kept(self, caption: str, encoding: Cond) -> Cond:
        if (path := self._path(caption)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.partial")
            save_file({name: value[0].cpu() for name, value in encoding.asked().items()}, part)
            part.replace(path)
        return self._remembered(caption, encoding)
