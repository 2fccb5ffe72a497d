"""``bench teach``: train the networks that ship with an embedded suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError, unknown

Out = Annotated[
    Path | None, typer.Option(help="folder for the weights [default: where the package reads them]")
]
Work = Annotated[Path, typer.Option(help="folder of the checkpoint; a killed training resumes from it")]
Part = Annotated[
    str | None, typer.Option(help="teacher or features; of shapes vocabulary, vae, unet, clip or features")
]
Teach = Callable[[Path, Path | None], list[Path]]  # work, out -> files written


def teach(
    suite: Annotated[str, typer.Option(help="embedded suite whose network is trained")],
    part: Part = None,
    out: Out = None,
    work: Work = Path("runs/teach"),
) -> None:
    """Train a shipped network again; a second call resumes where the first one stopped."""
    parts = parts_of(suite)
    if part is None and "teacher" not in parts:
        raise UsageError(f"--part: {suite} has several networks; choose one of {', '.join(parts)}")
    chosen = part or "teacher"
    if chosen not in parts:
        raise unknown("part", chosen, parts, "--part")
    try:
        written = parts[chosen](work, out)
    except ValueError as error:  # a part that it needs, or a library, is missing
        raise UsageError(f"{suite}: {error}") from error
    for path in written:
        typer.echo(f"wrote {path}")


def parts_of(suite: str) -> dict[str, Teach]:
    """What can be trained for a suite, by name."""
    if suite == "shapes":
        from bench.shapes_lessons import SHAPES_PARTS

        return SHAPES_PARTS
    from bench.suite import load_suite

    name = load_suite(suite).teacher
    return {
        "teacher": lambda work, out: teach_teacher(name, work, out),
        "features": lambda work, out: teach_features(name, out),
    }


def teach_teacher(name: str, work: Path, out: Path | None) -> list[Path]:
    """Train the denoiser that students copy."""
    from baselines.teachers.registry import TEACHERS, WEIGHTS
    from bench.teaching import teach as train
    from bench.teaching import teacher_lesson

    if name not in TEACHERS:
        raise unknown("teacher", name, TEACHERS)
    return train(teacher_lesson(name), work, out or WEIGHTS)


def teach_features(name: str, out: Path | None) -> list[Path]:
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
    return [weights]
