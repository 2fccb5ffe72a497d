"""Class labels of stored images: from EDM's ``dataset.json``, or from the names of folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.datasets.files import Files

SIDECAR = "dataset.json"


def labels_of(files: Files, names: Sequence[str], n_classes: int) -> np.ndarray:
    """Labels int64 ``[N]`` in 0..n_classes-1 of the files ``names``.

    ``dataset.json`` decides where it is; without it the folders at the top are the classes, in the order of
    their names.

    Raises:
        ValueError: no labels, or missing, repeated, superfluous or impossible ones.
    """
    if SIDECAR in files.names:
        labels, where = sidecar_labels(files, names), f"{files.path}: {SIDECAR}"
    else:
        labels, where = folder_labels(files, names), f"{files.path}"
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"{where}: labels from {low} to {high}, expected 0 to {n_classes - 1}")
    return labels


def sidecar_labels(files: Files, names: Sequence[str]) -> np.ndarray:
    """Labels of EDM's ``dataset.json``: a list of ``[name, label]``."""
    where = f"{files.path}: {SIDECAR}"
    try:
        pairs = json.loads(files.read(SIDECAR))["labels"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: no readable list 'labels' ({error!r}); get it again") from error
    if not pairs:
        raise ValueError(f"{where}: 'labels' is empty, and the data is to be class-conditional")
    found: dict[str, int] = {}
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        name, label = checked_pair(pair, where)
        if name in found:
            raise ValueError(f"{where}: {name!r} is labelled twice")
        found[name] = label
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{where}: {len(missing)} of {len(names)} files have no label, first {missing[0]!r}")
    if len(found) > len(names):
        extra = sorted(set(found) - set(names))
        raise ValueError(f"{where}: labels {len(extra)} files that are not there, first {extra[0]!r}")
    return np.array([found[name] for name in names], dtype=np.int64)


def checked_pair(pair: Any, where: str) -> tuple[str, int]:
    """One entry of the list."""
    whole = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    if not whole or not isinstance(pair[1], int) or isinstance(pair[1], bool) or abs(pair[1]) >= 1 << 31:
        raise ValueError(f"{where}: found {str(pair)[:80]}, expected [file name, class number]")
    return pair[0], pair[1]


def folder_labels(files: Files, names: Sequence[str]) -> np.ndarray:
    """Number of the folder at the top that a file lies in."""
    if loose := [name for name in names if "/" not in name]:
        raise ValueError(
            f"{files.path}: no {SIDECAR}, and {len(loose)} files lie in no class folder, first {loose[0]!r}"
        )
    folders = [name.split("/", 1)[0] for name in names]
    number = {folder: index for index, folder in enumerate(sorted(set(folders)))}
    return np.array([number[folder] for folder in folders], dtype=np.int64)
