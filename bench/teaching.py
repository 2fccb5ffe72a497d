"""Training of the small networks that ship: resumable, ending in safetensors and a record of the training."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from baselines.teachers.registry import TEACHERS, weights_path
from baselines.teachers.resumable import Training
from bench.atomic import write_atomic

REPORT_EVERY = 500  # iterations between checkpoints, held-out losses and progress lines
History = list[list[float | None]]


@dataclass(frozen=True)
class Trained:
    """What a finished training leaves.

    Attributes:
        networks: by weights file, a path inside the folder for the weights.
        beside: further files, likewise.
        report: what the records say beyond the training itself.
        half: whether weights are stored in half precision; what is stored is the network that ships.
    """

    networks: dict[str, nn.Module]
    beside: dict[str, str | bytes] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    half: bool = False


@dataclass(frozen=True)
class Lesson:
    """One training that a command runs.

    Attributes:
        name: of its checkpoint and in its record.
        begin: a training ready to step; finish: what it leaves.
        command: as a user types it.
        every: iterations between checkpoints.
    """

    name: str
    begin: Callable[[], Training]
    finish: Callable[[Training], Trained]
    command: str
    every: int = REPORT_EVERY


def teacher_lesson(name: str) -> Lesson:
    """The lesson of a teacher that ships, by its key in the registry."""

    def finish(training: Training) -> Trained:
        return Trained({weights_path(name, Path()).name: training.average})

    return Lesson(name, TEACHERS[name]().training, finish, f"bench teach --suite {name}")


def teach(
    lesson: Lesson, work: Path, out: Path, say: Callable[[str], None] = print, stop_at: int | None = None
) -> list[Path]:
    """Train to the end of the recipe, resuming from ``work``; returns the weights files.

    Args:
        lesson: what to train.
        work: folder of the checkpoint.
        out: folder of the finished weights and their records.
        say: receives progress lines.
        stop_at: iteration to stop early at (the checkpoint stays); then there are no files.
    """
    name, training = lesson.name, lesson.begin()
    history: History = []
    seconds = 0.0
    checkpoint = work / f"{name}.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        history, seconds = state.pop("history"), state.pop("seconds")
        training.load_state_dict(state)
        say(f"{name}: resumed at iteration {training.iteration} of {training.recipe.iterations}")
    total = min(training.recipe.iterations, stop_at or training.recipe.iterations)
    losses: list[float] = []
    clock = time.monotonic()
    while training.iteration < total:
        losses.append(training.step())
        if training.iteration % lesson.every == 0 or training.iteration == total:
            held_out = training.held_out_loss()
            history.append([training.iteration, sum(losses) / len(losses), held_out])
            losses.clear()
            seconds, clock = seconds + time.monotonic() - clock, time.monotonic()
            _save(checkpoint, training, history, seconds)
            shown = "" if held_out is None else f", held-out {held_out:.4f}"
            line = f"{name}: iteration {training.iteration}/{total}, loss {history[-1][1]:.4f}"
            say(f"{line}{shown}, {seconds:.0f} s")
    if total < training.recipe.iterations:
        return []
    return _publish(lesson, training, history, seconds, out)


def _save(path: Path, training: Training, history: History, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({**training.state_dict(), "history": history, "seconds": seconds}, partial)
    partial.replace(path)


def _publish(lesson: Lesson, training: Training, history: History, seconds: float, out: Path) -> list[Path]:
    """Write the finished weights and, beside each file, what made it."""
    trained = lesson.finish(training)
    for name, content in trained.beside.items():
        write_atomic(out / name, content)
    for name, network in trained.networks.items():
        blob = save_safetensors(
            {key: _stored(tensor, trained.half) for key, tensor in network.state_dict().items()}
        )
        write_atomic(out / name, blob)
        record = {
            "teacher": lesson.name,
            "sha256": hashlib.sha256(blob).hexdigest(),
            "parameters": sum(p.numel() for p in network.parameters()),
            "recipe": asdict(training.recipe),
            "images": training.recipe.iterations * training.recipe.batch,
            "seconds": round(seconds, 1),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            **trained.report,
            "history": {"columns": ["iteration", "loss", "held_out_loss"], "rows": history},
            "command": lesson.command,
        }
        write_atomic((out / name).with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return [out / name for name in trained.networks]


def _stored(tensor: Tensor, half: bool) -> Tensor:
    return (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
