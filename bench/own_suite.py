"""A suite from one's own images and teacher: ``bench new suite NAME --images DIR --teacher FILE``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baselines.checkpoints import Checkpoint, CheckpointError, read_checkpoint
from baselines.checkpoints.architecture import DhariwalConfig, EDM2Config, SongConfig
from baselines.datasets.stored_images import StoredImages
from bench.atomic import write_atomic
from bench.errors import AssetError, UsageError
from bench.suite import Suite, load_suite, parse_suite

TEMPLATES = {32: "cifar10", 64: "ffhq64"}  # whose budgets and presets are taken over, by the side of images
TOLD_APART = ("resolution", "channels", "out_channels", "label_dim")  # stated beside the other arguments


def write_suite(name: str, images: Path, teacher: Path, out: Path) -> Path:
    """Write ``out/NAME.toml``: the network as its file says, the reference computed from the images.

    Returns the path; the suite runs with ``bench run --suite NAME.toml``.

    Raises:
        UsageError: the suite's file is there already, or a network of another kind than image U-Nets.
        AssetError: weights or images that cannot be read, or that do not fit each other.
    """
    path = out / f"{name}.toml"
    if path.exists():
        raise UsageError(f"{path}: is there already; choose another name")
    checkpoint = opened(teacher)
    config = checkpoint.architecture.config
    if not isinstance(config, SongConfig | DhariwalConfig | EDM2Config) or config.channels not in (1, 3):
        raise UsageError(f"{teacher}: holds {checkpoint.architecture.network}, expected a U-Net for images")
    try:
        data = StoredImages.open(
            images, config.resolution, channels=config.channels, n_classes=config.label_dim
        )
    except ValueError as error:
        raise AssetError(str(error)) from error
    write_atomic(path, suite_text(name, len(data), images.resolve(), teacher.resolve(), checkpoint))
    parse_suite(path)
    return path


def opened(teacher: Path) -> Checkpoint:
    """A weight file; raises AssetError for one that is missing or not read."""
    try:
        return read_checkpoint(teacher)
    except (CheckpointError, FileNotFoundError) as error:
        raise AssetError(str(error)) from error


def suite_text(name: str, count: int, images: Path, teacher: Path, checkpoint: Checkpoint) -> str:
    """The suite file."""
    config: Any = checkpoint.architecture.config
    template = load_suite(TEMPLATES[min(TEMPLATES, key=lambda side: abs(side - config.resolution))])
    options = {key: value for key, value in asdict(config).items() if key not in TOLD_APART}
    parts = [
        {
            "name": name,
            "version": "1.0",
            "title": f"{name}, {config.resolution} x {config.resolution}",
            "about": f"{count:,} images of one's own, and a teacher for them.",
            "teacher": name,
            "primary": "fid",
            "nfe": list(template.nfe),
            "anchors": ["real"],
        },
        table("model", network=checkpoint.architecture.network, resolution=config.resolution)
        | {"channels": config.channels, "classes": config.label_dim},
        table("model.options", **options),
        table("files", teacher=str(teacher), data=str(images)),
        table("protocol", id="suite-fid50k@1", evaluator="published", others=["suite-fid5k-dev@1"])
        | {"curve_samples": 5000, "curve_seed": 10_000_000, "batch": 250},
        table("metrics", many=True, **template.column("fid").model_dump()),
        *(table(f"budgets.{key}", work=int(budget.work)) for key, budget in template.budgets.items()),
        table("teacher_rows", **template.teacher_rows.model_dump(exclude_none=True)),
        *(
            table("solver_rows", many=True, **rows.model_dump(exclude_none=True))
            for rows in template.solver_rows
        ),
    ]
    return "\n".join(map(section, [*parts, *presets_of(template)]))


def presets_of(template: Suite) -> Iterator[dict[str, Any]]:
    """The template's presets, each said to be untuned here."""
    note = f"untuned: taken over from {template.name}"
    for method, preset in template.methods.items():
        own: dict[str, Any] = {"batch": preset.batch, "ema_half_life": preset.ema_half_life}
        yield table(f"methods.{method}", **own, tuning=note)
        yield table(f"methods.{method}.options", **preset.options)


HEAD = "<head>"  # key of a part that holds its heading


def table(heading: str, many: bool = False, **values: Any) -> dict[str, Any]:
    """A part of the file under its heading; ``many``: one of several under the same."""
    return {HEAD: f"[[{heading}]]" if many else f"[{heading}]", **values}


def section(part: dict[str, Any]) -> str:
    """TOML of one part; strings, numbers and lists of them are in TOML what they are in JSON."""
    lines = [part[HEAD]] if HEAD in part else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in part.items() if key != HEAD]
    return "\n".join(lines) + "\n"
