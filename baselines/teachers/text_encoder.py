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

CHUNK = 16  # captions are always encoded as many at a time: sums depend on the shape of a batch


class HiddenStates(nn.Module):
    """A transformers text model as ``ids [B, L] -> last hidden state [B, L, E]``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids)[0]


class Tokens(NamedTuple):
    """Token ids of a caption, as many as the context has, and whether the caption was longer."""

    ids: list[int]
    cut: bool


class TextEncoder:
    """Encodings ``[B, L, E]`` of captions, the same whatever is asked beside them; the latest are remembered.

    Args:
        tokenizer: transformers' tokenizer; model: ``ids -> hidden states`` (a counting shell will do).
        sha256: digest of both, in whose name encodings are kept.
        width: E; context: L.
        folder: where encodings are kept between runs, one file a caption; None keeps none there.
        memory: captions that are remembered.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        sha256: str,
        *,
        width: int,
        context: int,
        folder: Path | None = None,
        memory: int = 4096,
    ) -> None:
        self.tokenizer, self.model, self.sha256 = tokenizer, model, sha256
        self.width, self.context, self.folder, self.memory = width, context, folder, memory
        self.latest: OrderedDict[str, Tensor] = OrderedDict()
        self.cut: set[str] = set()  # captions seen that are longer than the context
        self.empty = self._encoded([self.tokens("").ids])[0]  # the empty prompt [L, E]

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
        ids: list[int] = self.tokenizer(caption, verbose=False)["input_ids"]
        if len(ids) > self.context:
            return Tokens([*ids[: self.context - 1], ids[-1]], True)
        return Tokens(ids + [self.tokenizer.pad_token_id] * (self.context - len(ids)), False)

    def key(self, caption: str) -> str:
        """Digest of encoder and caption."""
        return hashlib.sha256(f"{self.sha256}/{caption}".encode()).hexdigest()

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Encodings ``[B, L, E]``, on the encoder's device.

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
            part = fresh[start : start + CHUNK]
            for caption, encoding in zip(part, self._encoded(ids[start : start + CHUNK]), strict=False):
                found[caption] = self._kept(caption, encoding.clone())
        return torch.stack([found[caption] for caption in captions])  # type: ignore[misc]

    def in_one_pass(self, captions: Sequence[str]) -> Tensor:
        """Encodings ``[B, L, E]`` of one batch, nothing remembered or filled up, as a user waits for it."""
        return self._forward([self.tokens(caption).ids for caption in captions])

    def _encoded(self, ids: list[list[int]]) -> Tensor:
        """Encodings of at most ``CHUNK`` captions, always computed as a whole chunk."""
        return self._forward(ids + [ids[0]] * (CHUNK - len(ids)))[: len(ids)]

    @torch.no_grad()
    def _forward(self, ids: list[list[int]]) -> Tensor:
        place = next(getattr(self.model, "plain", self.model).parameters()).device
        encoded: Tensor = self.model(torch.tensor(ids, device=place))
        return encoded

    def _noted(self, caption: str) -> Tokens:
        found = self.tokens(caption)
        if found.cut:
            self.cut.add(caption)
        return found

    def _path(self, caption: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.key(caption)}.safetensors"

    def _recalled(self, caption: str) -> Tensor | None:
        if caption in self.latest:
            self.latest.move_to_end(caption)
            return self.latest[caption]
        path = self._path(caption)
        if path is None or not path.is_file():
            return None
        self._noted(caption)
        return self._remembered(caption, load_file(path, device=str(self.empty.device))["text"])

    def _remembered(self, caption: str, encoding: Tensor) -> Tensor:
        self.latest[caption] = encoding
        if len(self.latest) > self.memory:
            self.latest.popitem(last=False)
        return encoding

    def _kept(self, caption: str, encoding: Tensor) -> Tensor:
        if (path := self._path(caption)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.partial")
            save_file({"text": encoding.contiguous().cpu()}, part)
            part.replace(path)
        return self._remembered(caption, encoding)
