"""Extractors by name: what each is, which file it reads, and its constructor. Importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrics.features.extractor import Extractor


@dataclass(frozen=True)
class Entry:
    """What is known of an extractor without loading it.

    Attributes:
        name: in the registry, in protocols and in records.
        asset: id of the weights file; None where the weights ship with the package.
        file: the published file name.
        sha256: published digest of that file; None where none is known, so that results are provisional.
        dimension: number of features.
        resize: name of the resize law (``metrics.features.resize.Resize``).
        extras: outputs beside the pooled features.
        factory: ``module:function``, called with ``(weights, sha256, device)``.
    """

    name: str
    asset: str | None
    file: str
    sha256: str | None
    dimension: int
    resize: str
    extras: tuple[str, ...]
    factory: str


_NVIDIA = ("inception-2015-12-05.pt", "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4")

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "inception-torch-fidelity",
            "inception/torch-fidelity",
            "weights-inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            2048,
            "tf1-bilinear-299",
            ("logits", "spatial"),
            "metrics.features.inception:load_inception",
        ),
        Entry(
            "inception-nvidia",
            "inception/nvidia-torchscript",
            *_NVIDIA,
            2048,
            "tf1-bilinear-299",
            ("logits",),
            "metrics.features.nvidia:load_nvidia",
        ),
        Entry(
            "inception-clean",
            "inception/nvidia-torchscript",
            *_NVIDIA,
            2048,
            "pil-bicubic-299",
            (),
            "metrics.features.nvidia:load_clean",
        ),
        Entry(
            "dinov2-vitl14",
            "dinov2/vitl14",
            "dinov2_vitl14_pretrain.pth",
            "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
            1024,
            "torch-bicubic-antialias-224",
            (),
            "metrics.features.dinov2:load_dinov2",
        ),
        Entry(
            "clip-vit-b-32",
            "clip/openai-vit-b-32",
            "ViT-B-32.pt",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            512,
            "open-clip-preprocess",
            (),
            "metrics.features.clip:load_clip_vit_b_32",
        ),
        Entry(
            "clip-vit-g-14",
            "clip/openclip-vit-g-14",
            "open_clip_pytorch_model.bin",
            None,
            1024,
            "open-clip-preprocess",
            (),
            "metrics.features.clip:load_clip_vit_g_14",
        ),
        Entry(
            "digits",
            None,
            "digits.safetensors",
            None,
            32,
            "none",
            ("logits",),
            "metrics.features.digits_extractor:load_digits_extractor",
        ),
        Entry(
            "shapes",
            None,
            "shapes.safetensors",
            None,
            64,
            "none",
            (),
            "metrics.features.shapes:load_shapes_extractor",
        ),
        Entry(
            "clip-shapes",
            None,
            "shapes-clip.safetensors",
            None,
            128,
            "open-clip-preprocess",
            (),
            "metrics.features.shapes_clip:load_shapes_clip",
        ),
    )
}


def entry(name: str) -> Entry:
    """The entry of an extractor.

    Raises:
        ValueError: no such name; the message lists the names.
    """
    if name not in ENTRIES:
        raise ValueError(f"extractor {name!r}: unknown; known are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def load_extractor(
    name: str, weights: Path | None = None, *, sha256: str | None = None, device: str = "cpu"
) -> Extractor:
    """The extractor ``name`` from its weights file.

    ``sha256`` replaces the published digest, for a file of one's own in the same format. Where neither is
    known the file is taken as it is, and its digest stands in ``Extractor.sha256``.

    Raises:
        ValueError: no such extractor or file, a wrong digest (both are shown), or tensors that do not fit.
    """
    found = entry(name)
    if weights is None and found.asset is not None:
        expected = sha256 or found.sha256 or "any"
        raise ValueError(
            f"extractor {name}: no weights file given; expected {found.file} (asset {found.asset}, "
            f"sha256 {expected})"
        )
    module, function = found.factory.split(":")
    factory = getattr(import_module(module), function)
    extractor: Extractor = factory(weights, sha256 or found.sha256, device)
    return extractor
