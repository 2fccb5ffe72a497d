"""Admission of feature, point and image arrays: shape and finiteness are checked once, at the border."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def feature_matrix(values: ArrayLike, name: str) -> np.ndarray:
    """Rows as fp64 ``[N, d]``; arrays and CPU tensors are both accepted.

    Raises:
        ValueError: not two-dimensional, empty, or holding NaN or infinity; the message names ``name``.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name}: expected a non-empty matrix [N, d], found shape {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix).all(axis=1)).sum())
        raise ValueError(f"{name}: {bad} of {len(matrix)} rows hold NaN or infinity; expected finite values")
    return matrix


def matching(a: ArrayLike, b: ArrayLike, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Two matrices ``[N, d]`` and ``[M, d]`` in fp64.

    Raises:
        ValueError: as ``feature_matrix``, or the two differ in d.
    """
    first, second = feature_matrix(a, names[0]), feature_matrix(b, names[1])
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{names[0]} has {first.shape[1]} columns and {names[1]} has {second.shape[1]}; expected the same"
        )
    return first, second


def class_labels(labels: ArrayLike, rows: int, classes: int, name: str) -> np.ndarray:
    """Labels as int64 ``[rows]`` in ``0 .. classes - 1``.

    Raises:
        ValueError: wrong length, not integers, or out of range; the message names ``name``.
    """
    values = np.asarray(labels)
    if values.shape != (rows,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"{name}: expected {rows} integer labels, found shape {list(values.shape)} of {values.dtype}"
        )
    if values.min() < 0 or values.max() >= classes:
        raise ValueError(f"{name}: expected labels in 0..{classes - 1}, found {values.min()}..{values.max()}")
    return values.astype(np.int64)


def uint8_images(images: ArrayLike, name: str) -> np.ndarray:
    """Images uint8 ``[N, C, H, W]``.

    Raises:
        ValueError: another dtype or rank, or no image; the message names ``name``.
    """
    values = np.asarray(images)
    if values.dtype != np.uint8 or values.ndim != 4 or values.size == 0:
        raise ValueError(
            f"{name}: expected uint8 images [N, C, H, W], found {values.dtype} of shape {list(values.shape)}"
        )
    return values
