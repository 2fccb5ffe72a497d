"""``bench teach``: train the teacher (or the feature network) that ships with an embedded suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError, unknown

Out = Annotated[
    Path | None, typer.Option(help="folder for the weights [default: where the package reads them]")
]
Work = Annotated[Path, typer.Option(help="folder of the checkpoint; a killed training resumes from it")]


def teach(
    suite: Annotated[str, typer.Option(help="embedded suite whose network is trained")],
    part: Annotated[str, typer.Option(help="teacher or features")] = "teacher",
    out: Out = None,
    work: Work = Path("runs/teach"),
) -> None:
    """Train a shipped network again; a second call resumes the teacher where it stopped."""
    from bench.suite import load_suite

    parts = {"teacher": teach_teacher, "features": teach_features}
    if part not in parts:
        raise unknown("part", part, parts, "--part")
    typer.echo(f"wrote {parts[part](load_suite(suite).teacher, work, out)}")


def teach_teacher(name: str, work: Path, out: Path | None) -> Path | None:
    """Train the denoiser that students copy."""
    from baselines.teachers.registry import TEACHERS, WEIGHTS
    from bench.teaching import teach as train

    if name not in TEACHERS:
        raise unknown("teacher", name, TEACHERS)
    return train(name, work, out or WEIGHTS)


def teach_features(name: str, work: Path, out: Path | None) -> Path:
    """Train the feature network of the digits protocol (minutes; not resumed)."""
    if name != "digits":
        raise UsageError(f"--part features: suite {name} uses no feature network; only digits does")
    from baselines.datasets.digits import load_digits
    from metrics.features.digits import WEIGHTS
    from metrics.features.digits_training import teach_digits_features

    train, held_out = load_digits()
    weights = WEIGHTS if out is None else out / WEIGHTS.name
    teach_digits_features(
        train=(train.images, train.labels),
        held_out=(held_out.images, held_out.labels),
        seed=0,
        weights=weights,
    )
    return weights
