"""CLIP (Radford et al., 2021, arXiv:2103.00020) through open_clip: embeddings of images and of captions."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Normalize
from torchvision.transforms import Resize as Scaling

from metrics.features.digest import checked_digest, misfit
from metrics.features.extractor import Extra, Extractor, Features, full_precision
from metrics.features.resize import Resize
from metrics.features.torchscript import load_torchscript

NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # settings among OpenAI's tensors


class ClipFeatures(Extractor):
    """Image embeddings, not normalised, of RGB images that pass through open_clip's own transform.

    Attributes:
        model, pretrained: what open_clip calls the architecture and the weights.
        context: tokens of a caption, begin and end included; the rest is cut off.
        side: height and width of images that need no scaling; None where the transform does not say.

    ``bpe`` is the file of its byte pairs; None for CLIP's own.
    """

    resize = Resize.OPEN_CLIP

    def __init__(
        self,
        network: Any,
        transform: Callable[[Image.Image], Tensor],
        *,
        name: str,
        model: str,
        pretrained: str,
        sha256: str,
        device: torch.device,
        bpe: Path | None = None,
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.transform = transform
        self.side, self.normal = side_and_normal(transform)
        self.name, self.model, self.pretrained, self.sha256, self.device = (
            name, model, pretrained, sha256, device,
        )  # fmt: skip
        self.context = int(network.context_length)
        self.dimension = int(network.text_projection.shape[-1])
        own = {} if bpe is None else {"bpe_path": str(bpe)}
        self.tokenizer = open_clip.SimpleTokenizer(**own, context_length=self.context)
        self._word = lru_cache(2**16)(self.tokenizer.encode)

    def _forward(self, images: Tensor, extras: frozenset[Extra]) -> Features:
        return Features(self.network.encode_image(self.pixels(images.cpu()).to(self.device)).float())

    def pixels(self, images: Tensor) -> Tensor:
        """What open_clip's transform makes of images, float32 ``[B, 3, S, S]``, on the CPU."""
        if images.shape[2:] == self.side:  # nothing is scaled or cut: all at once are the same bits
            return self.normal(images.contiguous().float().div(255))
        pictures = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]
        return torch.stack([self.transform(picture) for picture in pictures])

    def texts(self, captions: Sequence[str]) -> tuple[Tensor, int]:
        """Embeddings float32 ``[B, d]``, not normalised, and how many captions were cut to ``context``.

        Raises:
            ValueError: no caption.
        """
        if not captions:
            raise ValueError(f"{self.name}: expected one caption or more, found none")
        tokens = [self.ids(caption) for caption in captions]
        with torch.inference_mode(), full_precision():
            found = self.network.encode_text(self.rows(tokens).to(self.device)).float()
        return found, self._cut(tokens)

    def ids(self, caption: str) -> list[int]:
        """Token ids of a caption, as open_clip's tokenizer gives them, neither begun, ended nor cut.

        Its tokens never cross a space, so plain text is asked for word by word, and each word once. Entities,
        control characters and what is not ASCII are repaired across spaces: such text is asked for whole.
        """
        if caption.isascii() and caption.isprintable() and "&" not in caption:
            return [token for word in caption.split() for token in self._word(word)]
        found: list[int] = self.tokenizer.encode(caption)
        return found

    def rows(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Token ids ``[B, context]`` of captions, begin and end added, cut and padded as by open_clip."""
        begin, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        cut = [[begin, *ids[: self.context - 2], end] for ids in tokens]
        return torch.tensor([ids + [0] * (self.context - len(ids)) for ids in cut])

    def cut(self, captions: Sequence[str]) -> int:
        """How many captions are longer than the context."""
        return self._cut([self.ids(caption) for caption in captions])

    def _cut(self, tokens: Sequence[Sequence[int]]) -> int:
        return sum(len(ids) + 2 > self.context for ids in tokens)


def side_and_normal(transform: Any) -> tuple[tuple[int, int] | None, Callable[[Tensor], Tensor]]:
    """Height and width that open_clip's transform neither scales nor cuts, and its last step.

    The size is None for another kind of transform, which is asked for every image.
    """
    match getattr(transform, "transforms", []):
        case [Scaling() as scaling, CenterCrop() as cutting, *_, Normalize() as last]:
            if scaling.size in (cutting.size[0], list(cutting.size), tuple(cutting.size)):
                return tuple(cutting.size), last
    return None, torch.nn.Identity()


def load_clip(
    name: str, model: str, pretrained: str, weights: Path, *, sha256: str | None, device: str
) -> ClipFeatures:
    """``model`` of open_clip with the weights of a file: a state dict, safetensors, or OpenAI's archive.

    ``pretrained`` names the weights, and decides the activation (OpenAI's use the quick GELU).

    Raises:
        ValueError: no such file, another digest, no such model, or tensors that do not fit it.
    """
    digest = checked_digest(name, weights, sha256)
    try:
        with torch.random.fork_rng(devices=[]):  # its constructor draws weights that are replaced here
            network, _, transform = open_clip.create_model_and_transforms(
                model, load_weights=False, force_quick_gelu=pretrained == "openai"
            )
        if _is_archive(weights):
            state = load_torchscript(weights).state_dict()
            network.load_state_dict({key: x for key, x in state.items() if key not in NOT_WEIGHTS})
        else:
            open_clip.load_checkpoint(network, str(weights))
    except (RuntimeError, KeyError, ValueError) as error:
        raise misfit(name, weights, model, error) from error
    return ClipFeatures(
        network.float(),
        transform,
        name=name,
        model=model,
        pretrained=pretrained,
        sha256=digest,
        device=torch.device(device),
    )


def load_clip_vit_b_32(weights: Path, sha256: str | None, device: str) -> ClipFeatures:
    """OpenAI's ViT-B/32, the default of older tables; raises as ``load_clip``."""
    return load_clip("clip-vit-b-32", "ViT-B-32", "openai", weights, sha256=sha256, device=device)


def load_clip_vit_g_14(weights: Path, sha256: str | None, device: str) -> ClipFeatures:
    """OpenCLIP's ViT-g/14, which DMD, DMD2 and SiD-LSG report; raises as ``load_clip``."""
    return load_clip("clip-vit-g-14", "ViT-g-14", "laion2b_s12b_b42k", weights, sha256=sha256, device=device)


def _is_archive(weights: Path) -> bool:
    """Whether the file is TorchScript, as OpenAI's are, and not a state dict."""
    if not zipfile.is_zipfile(weights):
        return False
    with zipfile.ZipFile(weights) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
