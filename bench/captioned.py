"""Images measured against the captions that they were made from: the CLIP score of ``bench measure``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from bench.errors import AssetError
from bench.measuring import Measured, Request, common_notes, given_network, refuse_options
from metrics.captions import read_captions
from metrics.clip_score import clip_score
from metrics.measure import exact_count
from metrics.protocols.record import Protocol
from metrics.samples.source import open_images

if TYPE_CHECKING:
    from metrics.features.clip import ClipFeatures


def of_captions(request: Request, protocol: Protocol) -> Measured:
    """CLIP score of every set of samples.

    Raises:
        AssetError: no captions or weights given, or not the pinned ones.
        ValueError: images or captions that do not fit the protocol.
    """
    refuse_options(request, protocol, "reference")
    assert protocol.clip is not None and protocol.pixels is not None
    sources = [open_images(path, protocol.pixels) for path in request.samples]
    for source in sources:
        exact_count(protocol, source.path, source.count)
    if request.captions is None:
        raise AssetError(
            f"{protocol.id}: give --captions, the text that each image was made from, one a line"
        )
    captions, clip = read_captions(request.captions, protocol), clip_of(request, protocol)
    found = [
        clip_score(
            clip,
            (torch.from_numpy(batch) for batch in source.batches()),
            captions,
            protocol.clip.prefix,
            protocol.clip.scale,
        )
        for source in sources
    ]
    cut = f"{found[0].truncated} of {len(captions)} captions were cut to {clip.context} tokens"
    return Measured(
        protocol,
        {"clip_score": tuple(one.score for one in found)},
        tuple(source.sha256 for source in sources),
        None,
        clip.sha256,
        (*common_notes(request, protocol), cut),
    )


def clip_of(request: Request, protocol: Protocol) -> ClipFeatures:
    """The protocol's CLIP from ``--weights``.

    Raises:
        AssetError: no weights given, or not the pinned ones.
    """
    assert protocol.clip is not None
    return cast("ClipFeatures", given_network(request, protocol, protocol.clip))
