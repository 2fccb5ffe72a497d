"""Converted checkpoints: safetensors with a JSON record beside them, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from baselines.checkpoints.architecture import Architecture
from baselines.checkpoints.errors import CheckpointError
from baselines.checkpoints.licences import Licence
from baselines.checkpoints.reading import Checkpoint, Latents, parameter_count
from baselines.checkpoints.sniff import file_digest

Options = Mapping[str, str | int | None]
FORMAT = 1  # of the record; another number means that the file is converted again


def record_path(path: Path) -> Path:
    """The record of a converted file lies beside it."""
    return path.with_suffix(".json")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside the target that takes its place when the body succeeds, and is gone when it does not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, every tensor dense and in memory of its own, as safetensors wants them."""
    seen: set[int] = set()
    result = {}
    for name, value in tensors.items():
        storage = value.untyped_storage()
        own = value.is_contiguous() and storage.nbytes() == value.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        result[name] = value if own else value.contiguous().clone()
    return result


def save_converted(
    checkpoint: Checkpoint, path: Path, source: str, options: Options | None = None
) -> dict[str, Any]:
    """Write tensors to ``path`` (``.safetensors``) and their record beside it; returns the record.

    Args:
        source: name of the file that the checkpoint was read from.
        options: what the reading was told beside the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        save_file(separate(checkpoint.tensors), partial)
        digest = file_digest(partial)
    record = {
        "format": FORMAT,
        "source": {"name": source, "sha256": checkpoint.sha256},
        "options": dict(options or {}),
        "sha256": digest,
        "kind": checkpoint.kind,
        "architecture": checkpoint.architecture.as_json(),
        "ema_key": checkpoint.ema_key,
        "tensors": len(checkpoint.tensors),
        "parameters": parameter_count(checkpoint.tensors),
        "licence": asdict(checkpoint.licence),
        "extras": list(checkpoint.extras),
        "latents": None if checkpoint.latents is None else asdict(checkpoint.latents),
    }
    with replacing(record_path(path)) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a converted file; None where there is none of this format."""
    try:
        record = json.loads(record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def is_current(path: Path, source_sha256: str, options: Options | None = None) -> bool:
    """Whether ``path`` was converted from the source of that digest with these options, and is unchanged."""
    record = read_record(path)
    if record is None or not path.is_file() or record.get("source", {}).get("sha256") != source_sha256:
        return False
    if record.get("options") != dict(options or {}):
        return False
    return file_digest(path) == record.get("sha256")


def load_converted(path: Path) -> Checkpoint:
    """The checkpoint that ``save_converted`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the record is missing or of another format, or the weights are not those it states.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    record = read_record(path)
    if record is None:
        raise CheckpointError(f"{path}: {record_path(path).name} beside it is no record of 'bench convert'")
    found = file_digest(path)
    if found != record["sha256"]:
        raise CheckpointError(
            f"{path}: sha256 found {found}, its record expects {record['sha256']}; convert it again"
        )
    latents = record["latents"]
    return Checkpoint(
        kind=record["kind"],
        architecture=Architecture.from_json(record["architecture"]),
        tensors=load_file(path),
        ema_key=record["ema_key"],
        sha256=record["source"]["sha256"],
        licence=Licence(**record["licence"]),
        extras=tuple(record["extras"]),
        latents=latents and Latents(tuple(latents["scale"]), tuple(latents["bias"])),
    )
