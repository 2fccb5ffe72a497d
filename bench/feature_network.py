"""Networks whose features samples are scored in: of suites, and of ``bench measure``."""

from __future__ import annotations

from pathlib import Path

from bench.errors import AssetError
from metrics.features.extractor import Extractor
from metrics.features.registry import load_extractor


def feature_network(
    law: str, name: str, weights: Path | None, sha256: str | None, device: str, hint: str = ""
) -> Extractor:
    """A network of a protocol, its digest checked before it is loaded.

    Args:
        law: id of the protocol; name: in ``metrics.features.registry``.
        weights: its file; None for one that ships. hint: what to do without one.

    Raises:
        AssetError: no file, another digest, or tensors that do not fit.
    """
    try:
        return load_extractor(name, weights, sha256=sha256, device=device)
    except ValueError as error:
        raise AssetError(f"{law}: {error}{hint if weights is None else ''}") from error
