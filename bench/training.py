"""Training of one method under a budget: loop, evaluation average, snapshots, checkpoints, watchdog.

A training is a pure function of its inputs. It can be killed at any moment: checkpoints are written whole or
not at all, and a resumed run repeats the lost iterations with the same numbers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor

from baselines.diffusion.denoiser import Denoiser, Scaling
from baselines.diffusion.ema import EMALaw, ema_update
from baselines.distiller import Distiller
from baselines.streams import seeded
from bench.atomic import write_atomic
from bench.budget import Budget, watchdog
from bench.context import RunContext
from bench.errors import BenchError
from bench.keeping import ONE_FILE, drop, latest

SNAPSHOT_FRACTIONS = (0.0, *(2.0**-k for k in range(6, -1, -1)))  # of the work budget
CHECKPOINT_SECONDS = 20.0
LOGGED_POINTS = 200  # scalars kept over a whole training

Progress = Callable[[float, dict[str, float]], None]  # share of the budget spent, latest scalars


class Diverged(BenchError):
    """A loss or weight is no longer finite; names iteration and tensor."""


class Training:
    """One training in a stage folder; ``run`` it until the budget is spent.

    Args:
        method: built on ``context``.
        law: of the evaluation average (half-life 0 evaluates the live weights).
        folder: of checkpoints and snapshots.
        budget: work and seconds; overshoot is at most one iteration.
    """

    def __init__(
        self,
        method: Distiller,
        context: RunContext,
        law: EMALaw,
        folder: Path,
        budget: Budget,
        progress: Progress,
    ) -> None:
        self.method, self.context, self.law, self.folder = method, context, law, folder
        self.budget, self.progress = budget, progress
        self.averages: dict[str, Denoiser] = {}
        if law.half_life > 0:
            roles = {id(net.plain): role for role, net in context.networks.items()}
            for net in method.students().values():
                role = roles[id(net.plain)]
                if role not in self.averages and any(p.requires_grad for p in net.plain.parameters()):
                    self.averages[role] = deepcopy(net.plain).requires_grad_(False)
        self.images, self.seconds, self.snapshots = 0, 0.0, 0
        self.history: list[dict[str, float]] = []
        self.status = "ok"
        self.processes, self.keeps = [context.share.processes], context.share.keeps

    def run(self) -> None:
        """Train to the end of the budget, from the latest checkpoint if any, and write ``training.json``."""
        self.resume()
        saved = clock = time.monotonic()
        while True:
            self.take_due_snapshots()
            if self.context.work >= self.budget.work:
                break
            limit = self.budget.seconds
            if limit is not None and self.context.share.agreed(self.seconds > limit):
                self.status = "truncated"
                self.write_snapshot()
                break
            scalars = self.iterate()
            now = time.monotonic()
            self.seconds, clock = self.seconds + now - clock, now
            if self.context.progress * LOGGED_POINTS >= len(self.history):
                self.history.append(
                    {"iteration": self.context.iteration, "work": self.context.work, **scalars}
                )
            if self.is_due(now - saved):
                self.save()
                saved = time.monotonic()
            self.progress(self.context.progress, scalars)
        self.finish()

    def is_due(self, seconds: float) -> bool:
        """Whether a checkpoint is due, by the clock; by that of one process if all of them write it."""
        late = seconds > CHECKPOINT_SECONDS
        return self.context.share.agreed(late) if self.keeps.sharded else late

    def iterate(self) -> dict[str, float]:
        """One iteration of the method, its average and its accounting; returns the scalars."""
        context = self.context
        limit = self.budget.step_seconds * context.share.slack
        with watchdog(limit, context.iteration), seeded(context.seed, "dropout", context.iteration):
            scalars = {key: float(value) for key, value in self.method.step(context.next_batch()).items()}
        for key, value in scalars.items():
            if not math.isfinite(value):
                raise Diverged(f"iteration {context.iteration}: {key} is {value}")
        decay = self.law.decay(context.batch_size, self.images)
        for role, average in self.averages.items():
            ema_update(average, context.networks[role].plain, decay)
        self.images += context.batch_size
        context.advance()
        return scalars

    def take_due_snapshots(self) -> None:
        """Write a snapshot when the next fraction of the budget is reached (ones leapt over are not made)."""
        due = sum(self.context.work >= fraction * self.budget.work for fraction in SNAPSHOT_FRACTIONS)
        if due > self.snapshots:
            self.snapshots = due
            self.write_snapshot()
            self.save()

    def write_snapshot(self) -> None:
        """Weights to be evaluated, by step count, with the work and images behind them."""
        self.check_finite()
        meta = {"serves": self.serves(), "work": self.context.work, "images": self.images}
        blob = save_safetensors(self.weights(), {"snapshot": json.dumps(meta, sort_keys=True)})
        path = self.folder / f"snapshot-{self.snapshots - 1}.safetensors"
        write_atomic(path, blob)

    def serves(self) -> dict[int, str]:
        """Roles of the students by step count."""
        roles = {id(net.plain): role for role, net in self.context.networks.items()}
        return {steps: roles[id(net.plain)] for steps, net in self.method.students().items()}

    def weights(self) -> dict[str, Tensor]:
        """Those of a snapshot, whole."""
        return self.keeps.whole(
            {
                f"{role}/{name}": value
                for role in sorted(set(self.serves().values()))
                for name, value in self.evaluated(role).state_dict().items()
            }
        )

    def evaluated(self, role: str) -> Denoiser:
        """The network of a role as it is evaluated: its average, or the live one."""
        live: Denoiser = self.context.networks[role].plain
        return self.averages.get(role, live)

    def check_finite(self) -> None:
        """Raise Diverged naming the first weight that is not finite (the last finite checkpoint stays)."""
        for role, shell in self.context.networks.items():
            name = self.keeps.broken(shell.plain.state_dict())
            if name is not None:
                raise Diverged(f"iteration {self.context.iteration}: weight {name} of {role} is not finite")

    def save(self) -> None:
        """Write the checkpoint atomically."""
        self.check_finite()
        self.keeps.write(self.folder, self.state())

    def state(self) -> dict[str, Any]:
        """All that ``resume`` needs."""
        return {
            "context": self.context.state_dict(),
            "method": self.method.extra_state(),
            "averages": {role: average.state_dict() for role, average in self.averages.items()},
            "counters": [self.images, self.seconds, self.snapshots],
            "history": self.history,
            "processes": self.processes,
        }

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one.

        Raises:
            BenchError: the checkpoint cannot be read, or lacks something (a method's pairs, say).
        """
        place: Path | None = self.folder / ONE_FILE
        try:
            place = latest(self.folder)
            if not self.context.share.agreed(place is not None):  # a process that is late may see a new one
                return
            assert place is not None
            state = self.keeps.read(place)
            self.context.load_state_dict(state["context"])
            self.method.load_extra_state(state["method"])
            for role, weights in state["averages"].items():
                self.keeps.load(self.averages[role], weights)
            self.images, self.seconds, self.snapshots = state["counters"]
            self.history = state["history"]
            before: list[int] = state["processes"]
            self.processes = before if before[-1:] == self.processes else before + self.processes
        except Exception as error:
            raise BenchError(
                f"{place}: damaged checkpoint ({type(error).__name__}: {error}); "
                f"delete {self.folder} to start over"
            ) from error

    def finish(self) -> None:
        """Write what was spent; the checkpoint has done its work."""
        meter = self.context.meter
        cost = {
            "work": self.context.work,
            "budget": self.budget.work,
            "overshoot": max(0.0, self.context.work - self.budget.work),
            "units_by_role": meter.by_role("units"),
            "forwards_by_role": meter.by_role("forwards"),
            "backwards_by_role": meter.by_role("backwards"),
            "iterations": self.context.iteration,
            "images": self.images,
            "seconds": round(self.seconds, 3),
        }
        result = {
            "status": self.status,
            "cost": cost,
            "work_by_nfe": self.method.work_by_nfe(),
            "history": self.history,
            "processes": self.processes,
            "sharded": self.keeps.sharded,
            "notes": [f"trained by {', then by '.join(map(str, self.processes))} processes"]
            if len(self.processes) > 1  # rounding is that of neither alone
            else [],
        }
        write_atomic(self.folder / "training.json", json.dumps(result, indent=1) + "\n")
        drop(self.folder)


def snapshot_files(folder: Path) -> list[Path]:
    """Snapshots that a training left in its folder, in the order of the work behind them."""
    return sorted(folder.glob("snapshot-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))


class Snapshot:
    """Weights written by a training, ready to be turned into a generator.

    Attributes:
        work, images: spent when it was written.
        students: denoisers by step count (one object where one network serves several).
    """

    def __init__(
        self,
        path: Path,
        build: Callable[[], Denoiser],
        scaling: Scaling | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.path = path
        with safe_open(path, framework="pt") as stream:
            meta = json.loads(stream.metadata()["snapshot"])
            weights = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
        self.work, self.images = float(meta["work"]), int(meta["images"])
        networks: dict[str, Denoiser] = {}
        for role in set(meta["serves"].values()):
            denoiser = build()
            if scaling is not None:
                denoiser = denoiser.rescaled(scaling)
            prefix = f"{role}/"
            denoiser.load_state_dict(
                {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            )
            networks[role] = denoiser.eval().requires_grad_(False).to(device)
        self.students = {int(steps): networks[role] for steps, role in meta["serves"].items()}
