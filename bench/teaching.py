"""Training of the small teachers that ship: resumable, ending in safetensors and a record of the training."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors

from baselines.teachers.registry import TEACHERS, held_out_loss, weights_path
from baselines.teachers.training import DenoiserTraining
from bench.atomic import write_atomic

REPORT_EVERY = 500  # iterations between checkpoints, held-out losses and progress lines


def teach(
    name: str, work: Path, out: Path, say: Callable[[str], None] = print, stop_at: int | None = None
) -> Path | None:
    """Train a teacher to the end of its recipe, resuming from ``work``; returns the weights file.

    Args:
        name: key of the teacher registry.
        work: folder of the checkpoint.
        out: folder of the finished weights and their record.
        say: receives progress lines.
        stop_at: iteration to stop early at (the checkpoint stays); then None is returned.
    """
    entry = TEACHERS[name]()
    training, history, seconds = entry.training(), [], 0.0
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
        if training.iteration % REPORT_EVERY == 0 or training.iteration == total:
            held_out = held_out_loss(training, entry)
            history.append([training.iteration, sum(losses) / len(losses), held_out])
            losses.clear()
            seconds, clock = seconds + time.monotonic() - clock, time.monotonic()
            _save(checkpoint, training, history, seconds)
            shown = "" if held_out is None else f", held-out {held_out:.4f}"
            line = f"{name}: iteration {training.iteration}/{total}, loss {history[-1][1]:.4f}"
            say(f"{line}{shown}, {seconds:.0f} s")
    if total < training.recipe.iterations:
        return None
    return _publish(name, training, history, seconds, out)


def _save(path: Path, training: DenoiserTraining, history: list[list[float | None]], seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({**training.state_dict(), "history": history, "seconds": seconds}, partial)
    partial.replace(path)


def _publish(
    name: str, training: DenoiserTraining, history: list[list[float | None]], seconds: float, out: Path
) -> Path:
    """Write the averaged weights and, beside them, what made them."""
    blob = save_safetensors({key: value.contiguous() for key, value in training.average.state_dict().items()})
    path = weights_path(name, out)
    write_atomic(path, blob)
    record = {
        "teacher": name,
        "sha256": hashlib.sha256(blob).hexdigest(),
        "parameters": sum(p.numel() for p in training.average.parameters()),
        "recipe": asdict(training.recipe),
        "images": training.recipe.iterations * training.recipe.batch,
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "history": {"columns": ["iteration", "loss", "held_out_loss"], "rows": history},
        "command": f"bench teach --suite {name}",
    }
    write_atomic(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return path
