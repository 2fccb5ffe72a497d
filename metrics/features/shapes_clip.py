"""The CLIP of the suite ``shapes``: open_clip's own class at a small size, with byte pairs of its own.

It scores pictures of the drawn world and nothing else. It is trained on scenes that no other network sees,
and trains and guides none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from metrics.features.clip import ClipFeatures
from metrics.features.digest import checked_digest, misfit, recorded_digest

FOLDER = Path(__file__).parent / "weights"
WEIGHTS = FOLDER / "shapes-clip.safetensors"
BYTE_PAIRS = FOLDER / "shapes-bpe.txt.gz"
NAME, MODEL = "clip-shapes", "ViT-S-4-shapes"
CONTEXT = 36
SIDE = 32
LARGEST_SCALE = 100.0  # of the logits, as in CLIP


def shapes_clip_network(words: int) -> Any:
    """``open_clip.CLIP`` for so many tokens; its constructor draws from the global generator."""
    from open_clip.model import CLIP

    vision = {
        "image_size": SIDE,
        "patch_size": 4,
        "layers": 3,
        "width": 128,
        "head_width": 32,
        "pool_type": "avg",
    }
    text = {"context_length": CONTEXT, "vocab_size": words, "width": 128, "heads": 4, "layers": 2}
    return CLIP(embed_dim=128, vision_cfg=vision, text_cfg=text)  # type: ignore[arg-type]


def normalised(images: Tensor) -> Tensor:
    """uint8 ``[B, 3, 32, 32]`` as open_clip's transform gives them to the network."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (images.float() / 255 - mean) / std


def contrastive_loss(network: Any, embedded: Tensor, texts: Tensor, allowed: Tensor) -> Tensor:
    """CLIP's loss with hard captions (Yuksekgonul et al., 2023, arXiv:2210.01936).

    Args:
        network: to train; embedded: images by it ``[N, d]``, of any length.
        texts: ids ``[M, CONTEXT]``, M >= N: the captions of the images, then further false ones.
        allowed: bool ``[N, M]``: caption j is false of image i, or is its own; others are left out.
    """
    pictures = F.normalize(embedded, dim=1)
    logits = pictures @ F.normalize(network.encode_text(texts), dim=1).T
    logits = network.logit_scale.exp().clamp(max=LARGEST_SCALE) * logits
    logits = logits.masked_fill(~allowed, -torch.inf)
    own, count = torch.arange(len(embedded)), len(embedded)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :count].T, own)) / 2


def load_shapes_clip(weights: Path | None, sha256: str | None, device: str) -> ClipFeatures:
    """The network from a file, or from the one that ships, with the digest of its record.

    Raises:
        ValueError: no such file, another digest, or tensors that do not fit.
    """
    weights = weights or WEIGHTS
    digest = checked_digest(NAME, weights, sha256 or recorded_digest(weights))
    state = load_file(weights)
    try:
        with torch.random.fork_rng(devices=[]):  # its constructor draws weights that are replaced here
            network = shapes_clip_network(len(state["token_embedding.weight"]))
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (RuntimeError, KeyError) as error:
        raise misfit(NAME, weights, MODEL, error) from error
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
