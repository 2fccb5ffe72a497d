"""What is wrong in the evidence, by rule: each function gives one sentence, or None."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.distiller import Settings
from bench.check.evidence import BATCH, PART, SAMPLES, Evidence
from bench.closure import closure, is_project

NAME = re.compile(r"[a-z][a-z0-9_]*")
SUMMARY = 100  # characters of a line in a table
STEP_LIMIT = 2000.0  # units per sample: half of a thousandth of the smallest budget of an embedded suite
UNCHARGED = 1.05  # FLOPs over what was charged: losses and heads cost a little beside the networks
BATCH_TOLERANCE = 1e-3  # of a sample, data having a scale of about one half
CLOSED = ("baselines.datasets", "baselines.teachers", "bench", "metrics", "sklearn", "torchvision")


def declares(found: Evidence) -> str | None:
    """DB101."""
    cls = found.cls
    if not NAME.fullmatch(str(getattr(cls, "name", ""))):
        return f"name is {getattr(cls, 'name', None)!r}, expected lower-case letters, digits and _"
    for key in ("paper", "summary"):
        text = getattr(cls, key, None)
        if not isinstance(text, str) or not text.strip() or "\n" in text or len(text) > SUMMARY:
            return f"{key} is {text!r}, expected one line of at most {SUMMARY} characters"
    if not issubclass(cls.Config, Settings):
        return "Config is no subclass of baselines.distiller.Settings"
    for name, option in cls.Config.model_fields.items():
        if option.is_required() or not option.description:
            return f"option {name} of Config lacks {'a default' if option.is_required() else 'a description'}"
    if "config" in found.raised:
        return f"Config or served_nfe raised {found.raised['config']}"
    if not found.served or list(found.served) != sorted(set(found.served)) or min(found.served) < 1:
        return f"served_nfe gives {found.served}, expected step counts, ascending"
    return None


def trains(found: Evidence) -> str | None:
    """DB102."""
    for phase in ("config", "train"):
        if phase in found.raised:
            return f"the training raised {found.raised[phase]}"
    for number, scalars in enumerate(found.scalars):
        for key, value in scalars.items():
            if not torch.isfinite(torch.as_tensor(float(value))):
                return f"iteration {number}: {key} is {float(value)}"
    return None if any(found.scalars) else "step returned no scalar to log"


def serves(found: Evidence) -> str | None:
    """DB103."""
    if "sample" in found.raised:
        return f"sampling raised {found.raised['sample']}"
    if not set(found.trained) <= set(found.served) or not found.trained:
        return f"students() serves {found.trained}, served_nfe says {found.served}"
    expected = (SAMPLES, *found.lab.space.shape)
    for steps, drawn in found.samples.items():
        if not isinstance(drawn.one, Tensor) or tuple(drawn.one.shape) != expected:
            shape = tuple(getattr(drawn.one, "shape", ()))
            return f"{steps} steps: samples have shape {shape}, expected {expected}"
        if drawn.one.dtype != torch.float32 or not torch.isfinite(drawn.one).all():
            return f"{steps} steps: expected finite float32, found {drawn.one.dtype} or what is not finite"
    return None


def repeats(found: Evidence) -> str | None:
    """DB104."""
    if "again" in found.raised:
        return f"a second training in the same process raised {found.raised['again']}"
    return None if found.first == found.again else "the same seed gave other weights the second time"


def resumes(found: Evidence) -> str | None:
    """DB105."""
    if "resume" in found.raised:
        return f"the resumed training raised {found.raised['resume']}"
    if found.first == found.resumed:
        return None
    return "a training saved in the middle and restored ended with other weights; see extra_state"


def counts_evaluations(found: Evidence) -> str | None:
    """DB106."""
    for steps, drawn in found.samples.items():
        if drawn.counted != steps:
            return f"{steps} steps were asked for, {drawn.counted:g} evaluations per sample were counted"
        if drawn.flops > UNCHARGED * steps:
            return f"{steps} steps took the FLOPs of {drawn.flops:.3g} evaluations: some were not counted"
    return None


def obeys_budget(found: Evidence) -> str | None:
    """DB107."""
    limit = STEP_LIMIT * BATCH
    if found.start_work > limit:
        return f"the constructor spent {found.start_work / BATCH:g} units per sample, at most {STEP_LIMIT:g}"
    for number, each in enumerate(found.iterations):
        if each.elsewhere:
            return f"iteration {number} charged {each.elsewhere:g} units to another phase than training"
        if not 0 < each.work <= limit:
            per = each.work / BATCH
            return f"iteration {number} spent {per:g} units per sample, expected 0 < units <= {STEP_LIMIT:g}"
    return None


def draws_from_streams(found: Evidence) -> str | None:
    """DB108."""
    used = ", ".join(sorted(found.watch.random))
    return (
        f"drew from the global generator of {used}; use context.draws() and noise.at(step)" if used else None
    )


def stays_off_the_network(found: Evidence) -> str | None:
    """DB109."""
    return f"called {', '.join(dict.fromkeys(found.watch.outward))}" if found.watch.outward else None


def sees_only_batches(found: Evidence) -> str | None:
    """DB110."""
    if found.watch.files:
        return f"opened {found.watch.files[0]}"
    for path in sources(found.cls):
        for name in imported(path):
            if any(name == closed or name.startswith(f"{closed}.") for closed in CLOSED):
                return f"{path.name} imports {name}"
    return None


def is_charged(found: Evidence) -> str | None:
    """DB111."""
    counted = [(each.work, each.flops) for each in found.iterations if each.flops is not None]
    charged, flops = (sum(column) for column in zip(*counted, strict=True))
    if flops <= UNCHARGED * charged:
        return None
    return f"the training took the FLOPs of {flops:.4g} units and was charged {charged:.4g}"


def ignores_the_batch(found: Evidence) -> str | None:
    """DB112."""
    for steps, drawn in found.samples.items():
        away = float((torch.cat(drawn.parts) - drawn.one).abs().max())
        if away > BATCH_TOLERANCE:
            return f"{steps} steps: samples drawn {PART} at a time differ from one batch by {away:.3g}"
    return None


def leaves_torch_alone(found: Evidence) -> str | None:
    """DB113."""
    changed = ", ".join(sorted(found.watch.settings))
    return f"changed {changed}" if changed else None


def updates_by_optimizers(found: Evidence) -> str | None:
    """DB114."""
    changed = ", ".join(sorted(found.watch.updates))
    return f"weights of {changed} changed outside of the context's optimisers" if changed else None


def sources(cls: Any) -> list[Path]:
    """The plugin's own files."""
    path = Path(sys.modules[cls.__module__].__file__ or "").resolve()
    return [file for file in closure([path]) if not is_project(file)]


def imported(path: Path) -> list[str]:
    """Names of the modules that a file imports, and of what it takes from them."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
