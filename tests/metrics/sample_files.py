"""The same images in every container that samples come in."""

import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file


def noise(count, channels=3, size=8, seed=0):
    """uint8 ``[N, C, H, W]``."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def as_image(planes):
    return Image.fromarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


def write_folder(path: Path, images, labels=None, suffix=".png"):
    path.mkdir(parents=True, exist_ok=True)
    names = [f"{i // 4:03d}/{i:05d}{suffix}" for i in range(len(images))]
    for name, planes in zip(names, images, strict=True):
        (path / name).parent.mkdir(exist_ok=True)
        as_image(planes).save(path / name)
    if labels is not None:
        pairs = [[name, int(label)] for name, label in zip(names, labels, strict=True)]
        (path / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return path


def write_zip(path: Path, images, labels=None):
    folder = write_folder(path.with_suffix(""), images, labels)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/._00000.png", b"not an image")
    return path


def write_npz(path: Path, images, labels=None, compressed=True):
    arrays = {"arr_0": images.transpose(0, 2, 3, 1)}
    if labels is not None:
        arrays["arr_1"] = np.asarray(labels)
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def write_safetensors(path: Path, images, labels=None):
    tensors = {"samples": np.ascontiguousarray(images)}
    if labels is not None:
        tensors["labels"] = np.asarray(labels)
    save_file(tensors, path)
    return path


def write(kind: str, folder: Path, images, labels=None) -> Path:
    """Write images as ``folder``, ``zip``, ``npz`` or ``safetensors``; returns the path."""
    writers = {"folder": write_folder, "zip": write_zip, "npz": write_npz, "safetensors": write_safetensors}
    name = "samples" if kind == "folder" else f"samples.{kind}"
    return writers[kind](folder / name, images, labels)


KINDS = ("folder", "zip", "npz", "safetensors")
