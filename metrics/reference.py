"""What samples are compared with: statistics from a file, or features of real images; known by its digest."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metrics.moments import Moments
from metrics.protocols.record import Asset, Protocol
from metrics.samples.arrays import array_names

NAMES = {"pool": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}  # in npz files of EDM and ADM
WANTED = {*NAMES["pool"], *NAMES["spatial"], "count", "num_images", "ddof", "extractor_sha256"}
LARGEST = 1 << 30  # bytes of one array of statistics: dimension 11,585
PARTS = {"fid": "pool", "fd_dinov2": "pool", "fd": "pool", "sfid": "spatial"}  # metric to features
SAFE = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    *((module, name) for module in ("numpy.core.multiarray", "numpy._core.multiarray")
      for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
}  # fmt: skip


class WrongFile(ValueError):
    """A file that is not the one a protocol pins."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The real side of every distance.

    Attributes:
        sha256: of the statistics file, or of the images.
        moments: by features ("pool", "spatial").
        features: of the real images, for precision and recall; None where only statistics are known.
        asset: id of the protocol's asset it was taken for; None if none is named so.
    """

    sha256: str
    moments: dict[str, Moments] = field(default_factory=dict)
    features: np.ndarray | None = None
    asset: str | None = None


def is_statistics(path: Path) -> bool:
    """Whether a file holds statistics and not images."""
    if path.suffix == ".pkl":
        return True
    return path.suffix == ".npz" and path.is_file() and "mu" in array_names(path)


def load_statistics(path: Path, protocol: Protocol) -> Reference:
    """Means and covariances from a statistics file: npz of EDM or ADM, or pickle of EDM2 (read safely).

    Raises:
        WrongFile: the digest is not the one that the protocol pins for this file; shows both.
        ValueError: unreadable, keys are missing, of unknown count, or not of the extractor's dimension.
    """
    try:
        with path.open("rb") as stream:  # ADM's files also hold images: gigabytes
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: cannot read the reference ({error.strerror})") from error
    asset = checked_asset(path, digest, protocol)
    arrays = edm2_arrays(path, protocol) if path.suffix == ".pkl" else npz_arrays(path)
    checked_origin(path, arrays, protocol)
    count = count_of(path, arrays, asset, protocol)
    moments = {}
    for part in dict.fromkeys(PARTS[metric] for metric in protocol.metrics if metric in PARTS):
        mean, cov = NAMES[part]
        if missing := {mean, cov} - set(arrays):
            raise ValueError(
                f"{path}: no array {', '.join(sorted(missing))}; found {', '.join(sorted(arrays)) or 'none'}"
            )
        try:
            moments[part] = Moments(count, arrays[mean], arrays[cov], ddof_of(protocol))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if protocol.extractor and "pool" in moments and moments["pool"].dimension != protocol.extractor.dimension:
        raise ValueError(
            f"{path}: statistics of {moments['pool'].dimension} features; "
            f"{protocol.id} has {protocol.extractor.dimension}"
        )
    return Reference(digest, moments, None, asset.id if asset else None)


def ddof_of(protocol: Protocol) -> int:
    """Of the reference's covariance."""
    return 0 if protocol.frechet and protocol.frechet.reference_divisor == "N" else 1


def checked_asset(path: Path, digest: str, protocol: Protocol) -> Asset | None:
    """The protocol's asset that a file is: by digest, else by the file's name; None if by neither.

    Raises:
        WrongFile: the file is none of those whose digests are pinned, and no digest is missing.
    """
    assets = protocol.reference.assets if protocol.reference else ()
    same = next((asset for asset in assets if asset.sha256 == digest), None)
    if same:
        return same
    named = next((asset for asset in assets if asset.id.rsplit("/", 1)[-1] == path.stem), None)
    suspects = [named] if named else list(assets)
    computable = protocol.reference is not None and protocol.reference.computable
    if suspects and all(asset.sha256 for asset in suspects) and (named or not computable):
        expected = ", ".join(f"{asset.sha256} ({asset.id})" for asset in suspects)
        raise WrongFile(f"{path}: sha256 found {digest}, {protocol.id} expects {expected}; fetch it again")
    return named


def checked_origin(path: Path, arrays: Mapping[str, np.ndarray], protocol: Protocol) -> None:
    """Raise WrongFile or ValueError for statistics that say they are of another extractor or divisor."""
    pinned = protocol.extractor.asset.sha256 if protocol.extractor else None
    found = str(arrays["extractor_sha256"]) if "extractor_sha256" in arrays else None
    if pinned and found and found != pinned:
        raise WrongFile(f"{path}: statistics of an extractor with sha256 {found}, {protocol.id} has {pinned}")
    if "ddof" in arrays and int(arrays["ddof"]) != ddof_of(protocol):
        divisor = ("N", "N-1")[ddof_of(protocol)]
        raise ValueError(f"{path}: covariance of another divisor than {divisor}, which {protocol.id} has")


def npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of statistics in an npz file, images left aside; raises ValueError for a broken one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            sizes = {info.filename: info.file_size for info in archive.zip.infolist()}
            if large := [key for key in archive.files if key in WANTED and sizes[f"{key}.npy"] > LARGEST]:
                raise ValueError(f"array {large[0]!r} unpacks to more than {LARGEST:,} bytes")
            return {key: archive[key] for key in archive.files if key in WANTED}
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise ValueError(f"{path}: not a readable npz of statistics ({error})") from error


def edm2_arrays(path: Path, protocol: Protocol) -> dict[str, np.ndarray]:
    """The statistics that a protocol needs from EDM2's pickle; nothing in it is executed.

    Raises:
        ValueError: anything but dictionaries of arrays and numbers, or no statistics of that kind.
    """
    try:
        with path.open("rb") as stream:
            found = ArraysOnly(stream).load()
    except Exception as error:  # unpickling garbage can raise anything
        raise ValueError(f"{path}: not a pickle of plain arrays ({error})") from error
    kind = "fd_dinov2" if "fd_dinov2" in protocol.metrics else "fid"
    part = found.get(kind) if isinstance(found, Mapping) else None
    if not isinstance(part, Mapping) or not {"mu", "sigma"} <= set(part):
        raise ValueError(f"{path}: no statistics {kind!r} with mu and sigma in this pickle")
    count = {"num_images": np.asarray(found["num_images"])} if "num_images" in found else {}
    return {"mu": np.asarray(part["mu"]), "sigma": np.asarray(part["sigma"]), **count}


class ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers, strings and containers of them; any other name in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The few functions that rebuild arrays."""
        if (module, name) not in SAFE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return super().find_class(module, name)


def count_of(path: Path, arrays: Mapping[str, np.ndarray], asset: Asset | None, protocol: Protocol) -> int:
    """How many images are behind the statistics: as the file says, else as the protocol does of that asset.

    Raises:
        ValueError: neither says.
    """
    for key in ("num_images", "count"):
        if key in arrays:
            return int(arrays[key])
    if asset is not None and asset.count is not None:
        return asset.count
    names = [each.id.rsplit("/", 1)[-1] for each in (protocol.reference.assets if protocol.reference else ())]
    raise ValueError(
        f"{path}: does not say of how many images it is; add an array 'count', or keep the published name "
        f"({', '.join(names) or 'none is known'})"
    )
