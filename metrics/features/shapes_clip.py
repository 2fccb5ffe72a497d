"""The CLIP of the suite ``shapes``: open_clip's own class at a small size, with byte pairs of its own.

It scores pictures of the drawn world and nothing else. It is trained on scenes that no other network sees,
and trains and guides none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.features.clip import ClipFeatures
from metrics.features.own_networks import own_network

FOLDER = Path(__file__).parent / "weights"
WEIGHTS = FOLDER / "shapes-clip.safetensors"
BYTE_PAIRS = FOLDER / "shapes-bpe.txt.gz"
NAME, MODEL = "clip-shapes", "RN-shapes"
CONTEXT = 36
SIDE = 32
LARGEST_SCALE = 100.0  # of the logits, as in CLIP
PARTS = 6  # groups of captions of like length


def shapes_clip_network(words: int) -> Any:
    """``open_clip.CLIP`` for so many tokens, a ResNet for pictures; its constructor draws from the global
    generator.

    In the same time on a CPU a vision transformer of this size learns a fraction of what the ResNet does.
    """
    from open_clip.model import CLIP

    vision = {"image_size": SIDE, "layers": (1, 1, 1, 1), "width": 16, "head_width": 32}
    text = {"context_length": CONTEXT, "vocab_size": words, "width": 128, "heads": 4, "layers": 3}
    return CLIP(embed_dim=128, vision_cfg=vision, text_cfg=text)  # type: ignore[arg-type]


def normalised(images: Tensor) -> Tensor:
    """uint8 ``[B, 3, 32, 32]`` as open_clip's transform gives them to the network."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (images.float() / 255 - mean) / std


def contrastive_loss(scale: Tensor, pictures: Tensor, captions: Tensor, allowed: Tensor) -> Tensor:
    """CLIP's loss with hard captions (Yuksekgonul et al., 2023, arXiv:2210.01936).

    Args:
        scale: of the logits; pictures: embeddings ``[N, d]``, of any length.
        captions: embeddings ``[M, d]``, M >= N: of the captions of the images, then of further false ones.
        allowed: bool ``[N, M]``: caption j is false of image i, or is its own; others are left out.
    """
    logits = F.normalize(pictures, dim=1) @ F.normalize(captions, dim=1).T
    logits = (scale.clamp(max=LARGEST_SCALE) * logits).masked_fill(~allowed, -torch.inf)
    own, count = torch.arange(len(pictures)), len(pictures)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :count].T, own)) / 2


def encoded(network: Any, texts: Tensor) -> Tensor:
    """``encode_text``, with the padding of short captions left out: no token sees what follows it.

    Args:
        texts: ids ``[M, CONTEXT]``, 0 behind the end.

    Returns:
        ``[M, d]``, equal to the network's own up to rounding.
    """
    rows = (texts != 0).sum(1).argsort(stable=True)
    parts = []
    for part in rows.split(max(1, len(rows) // PARTS)):
        longest = int((texts[part] != 0).sum(1).max())
        x = network.token_embedding(texts[part, :longest]) + network.positional_embedding[:longest]
        x = network.transformer(x, attn_mask=network.attn_mask[:longest, :longest])
        ends = texts[part].argmax(1)  # the end has the largest id
        parts.append(network.ln_final(x)[torch.arange(len(part)), ends] @ network.text_projection)
    return torch.cat(parts)[rows.argsort()]


def load_shapes_clip(weights: Path | None, sha256: str | None, device: str) -> ClipFeatures:
    """The network from a file, or from the one that ships, with the digest of its record.

    Raises:
        ValueError: no such file, another digest, or tensors that do not fit.
    """
    weights = weights or WEIGHTS
    network, digest = own_network(
        NAME, weights, sha256, MODEL, lambda state: shapes_clip_network(len(state["token_embedding.weight"]))
    )
    return shapes_clip_features(network, weights.with_name(BYTE_PAIRS.name), digest, device)


def shapes_clip_features(network: Any, byte_pairs: Path, digest: str, device: str = "cpu") -> ClipFeatures:
    """A network behind the contract of CLIP scores."""
    from open_clip.transform import image_transform

    return ClipFeatures(
        network,
        image_transform(SIDE, is_train=False),
        name=NAME,
        model=MODEL,
        pretrained="shapes",
        sha256=digest,
        device=torch.device(device),
        bpe=byte_pairs,
    )
