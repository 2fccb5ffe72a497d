"""Reference statistics computed once from real images and kept: an npz that says what it rests on."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from metrics.features.extractor import Extractor
from metrics.measure import images_reference
from metrics.protocols.record import Protocol
from metrics.reference import NAMES, Reference
from metrics.samples.source import open_images

EPOCH = (1980, 1, 1, 0, 0, 0)  # time of every member, so that equal statistics are equal bytes


def compute_statistics(images: Path, protocol: Protocol, extractor: Extractor, out: Path) -> str:
    """Mean and covariance of real images in a protocol's features, in one pass, written to ``out``.

    Returns:
        sha256 of the images, as in records.

    Raises:
        ValueError: the protocol takes no computed statistics, the extractor is not its own, or an image does
            not fit it; nothing is written then.
    """
    part = protocol.reference
    if part is None or protocol.pixels is None or not part.computable:
        raise ValueError(f"{protocol.id}: its reference is not computed from images")
    check_extractor(protocol, extractor)
    found = images_reference(open_images(images, protocol.pixels, reference=True), protocol, extractor)
    write_statistics(out, found, extractor.sha256)
    return found.sha256


def check_extractor(protocol: Protocol, extractor: Extractor) -> None:
    """Raise ValueError unless an extractor is the one of a protocol."""
    wanted = protocol.extractor
    if wanted is None or extractor.dimension != wanted.dimension:
        expected = f"{wanted.dimension} features" if wanted else "no extractor"
        raise ValueError(
            f"{protocol.id}: {extractor.name} has {extractor.dimension} features, expected {expected}"
        )
    if wanted.asset.sha256 not in (None, extractor.sha256):
        raise ValueError(
            f"{protocol.id}: extractor has sha256 {extractor.sha256}, expected {wanted.asset.sha256}"
        )


def write_statistics(out: Path, reference: Reference, extractor_sha256: str | None) -> None:
    """Write moments as an npz with the names of EDM and ADM, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for part, moments in reference.moments.items():
        mean, cov = NAMES[part]
        arrays |= {mean: moments.mean, cov: moments.cov}
        arrays |= {"count": np.array(moments.count), "ddof": np.array(moments.ddof)}
    arrays["images_sha256"] = np.array(reference.sha256)
    if extractor_sha256 is not None:
        arrays["extractor_sha256"] = np.array(extractor_sha256)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, array in sorted(arrays.items()):
                stream = io.BytesIO()
                np.save(stream, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", EPOCH), stream.getvalue())
        partial.replace(out)
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
