"""A short training of a method under observation, several times, so that the ends can be compared.

scout     a few iterations, to learn what they cost; torch counts their FLOPs
observed  about eight iterations; a checkpoint in the middle, samples at the end
again     the same from the same seed
resumed   from the observed run's checkpoint to the end

Counting FLOPs takes operations apart, which moves last bits: what is compared is run without it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.diffusion.cond import Cond
from baselines.diffusion.ema import EMALaw
from baselines.distiller import Batch, Distiller
from baselines.streams import SampleNoise
from bench.anatomy import short_config
from bench.budget import Budget
from bench.check.watch import Refused, Watch, WatchedContext
from bench.lab import Lab
from bench.meter import Meter, Metered
from bench.training import Snapshot, Training, snapshot_files

BATCH, SCOUTED, ITERATIONS, SAMPLES, PART = 16, 4, 8, 12, 5
STEP_SECONDS = 30.0
LIMITLESS = 1e12


@dataclass(frozen=True)
class Iteration:
    """One observed iteration.

    Attributes:
        work: units charged to training; elsewhere: to other phases.
        flops: as torch counts them, in units; None where they were not counted.
    """

    work: float
    elsewhere: float
    flops: float | None


@dataclass(frozen=True)
class Sampled:
    """Samples at one step count.

    Attributes:
        one: drawn in one batch; parts: the same samples drawn in smaller batches.
        counted: evaluations per sample, metered; flops: per sample, in forwards of the reference network.
    """

    one: Any
    parts: Any
    counted: float
    flops: float


@dataclass
class Evidence:
    """What was observed; ``raised`` names the phase that broke and why, if one did."""

    cls: type[Distiller]
    lab: Lab
    watch: Watch = field(default_factory=Watch)
    raised: dict[str, str] = field(default_factory=dict)
    iterations: list[Iteration] = field(default_factory=list)
    scalars: list[Any] = field(default_factory=list)
    start_work: float = 0.0
    samples: dict[int, Sampled] = field(default_factory=dict)
    served: tuple[int, ...] = ()
    trained: tuple[int, ...] = ()
    first: str = ""
    again: str = ""
    resumed: str = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note an exception instead of passing it on; one that refuses the network is noted elsewhere."""
        try:
            yield
        except Refused:
            self.raised[name] = ""
        except (Exception, SystemExit) as error:
            self.raised[name] = f"{type(error).__name__}: {error}"


def gather(cls: type[Distiller], lab: Lab, folder: Path) -> Evidence:
    """Observe a method on the lab of a suite; checkpoints go into ``folder``."""
    found, teacher = Evidence(cls, lab), weights_digest({"teacher": lab.net})
    observe(found, folder)
    if weights_digest({"teacher": lab.net}) != teacher:
        found.watch.updates.add("teacher")
    return found


def observe(found: Evidence, folder: Path) -> None:
    """Run the trials one after the other, until one breaks."""
    cls = found.cls
    with found.phase("config"):
        config = short_config(cls)
        found.served = tuple(cls.served_nfe(config))
    if found.raised:
        return
    with found.phase("train"):
        scout = Trial(found, config, LIMITLESS, folder / "scout", counted=True)
        for _ in range(SCOUTED):
            scout.training.iterate()
        budget = ITERATIONS / SCOUTED * scout.context.work or LIMITLESS
        observed = Trial(found, config, budget, folder / "observed")
        found.start_work = observed.context.work
        observed.run(save_at=ITERATIONS // 2)
        found.first = observed.digest()
        found.trained = tuple(sorted(observed.method.students()))
        observed.training.snapshots = 1
        observed.training.write_snapshot()
    if found.raised:
        return
    with found.phase("sample"):
        for steps in found.trained:
            found.samples[steps] = observed.sample(steps)
    with found.phase("again"):
        trial = Trial(found, config, budget, folder / "again", watched=False)
        trial.run()
        found.again = trial.digest()
    with found.phase("resume"):
        trial = Trial(found, config, budget, folder / "observed", watched=False)
        trial.training.resume()
        trial.run()
        found.resumed = trial.digest()


class Trial:
    """One training of the method, from the seed or from a checkpoint.

    Args:
        watched: what it does goes into the evidence; counted: its FLOPs too.
    """

    def __init__(
        self,
        found: Evidence,
        config: Any,
        budget: float,
        folder: Path,
        *,
        watched: bool = True,
        counted: bool = False,
    ) -> None:
        folder.mkdir(exist_ok=True)
        lab, cls = found.lab, found.cls
        self.found, self.config, self.folder, self.meter = found, config, folder, Meter()
        self.watch, self.counted = found.watch if watched else Watch(), counted
        self.context = WatchedContext(
            lab.space,
            partial(lab.entry.draw, 0),
            self.meter,
            budget=budget,
            batch_size=BATCH,
            seed=0,
            data_free=not cls.needs.data,
            reference_flops=lab.reference_flops,
        )
        self.context.watch, self.context.known = self.watch, {}
        with self.watch.on():
            self.method = cls(lab.teacher(self.meter), config, self.context)
        self.step = self.method.step
        if watched:
            self.method.step = self.observed_step  # type: ignore[method-assign]
        limits = Budget(work=budget, step_seconds=STEP_SECONDS)
        self.training = Training(
            self.method, self.context, EMALaw(0.0, None), folder, limits, lambda share, scalars: None
        )

    def observed_step(self, batch: Batch) -> Any:
        """The method's step, with everything watched."""
        found, before, start = self.found, charged(self.meter), self.context.values()
        counter = FlopCounterMode(display=False)
        with counter if self.counted else nullcontext(), found.watch.on():
            scalars = self.step(batch)
        after = charged(self.meter)
        flops = counter.get_total_flops() / found.lab.reference_flops if self.counted else None
        found.iterations.append(Iteration(after[0] - before[0], after[1] - before[1], flops))
        found.scalars.append(scalars)
        self.context.after_step(start)
        return {key: float(value) for key, value in scalars.items() if math.isfinite(float(value))}

    def run(self, save_at: int | None = None) -> None:
        """Iterate until the budget is spent (a method that spends none is stopped)."""
        while self.context.work < self.context.budget and self.context.iteration < 4 * ITERATIONS:
            self.training.iterate()
            if self.context.iteration == save_at:
                self.training.save()
        if save_at is not None and self.context.iteration < save_at:
            self.training.save()
        self.training.check_finite()

    def digest(self) -> str:
        """sha256 of all weights that the context handed out."""
        return weights_digest({role: shell.plain for role, shell in self.context.networks.items()})

    def sample(self, steps: int) -> Sampled:
        """Samples of the students as they were written, in one batch and in smaller ones."""
        found, space, meter = self.found, self.found.lab.space, Meter()
        scaling = found.cls.student_scaling(self.config, space)
        students = Snapshot(snapshot_files(self.folder)[-1], found.lab.entry.build, scaling).students
        shells = {id(net): Metered(net, "student", meter) for net in students.values()}
        with found.watch.on(), torch.no_grad():
            metered = {count: shells[id(net)] for count, net in students.items()}
            generator = found.cls.generator(metered, self.config, space)

            def draw(rows: range) -> Tensor:
                label = torch.tensor([i % space.n_classes for i in rows]) if space.n_classes else None
                return generator.sample(SampleNoise(0, rows, space.shape), Cond(label=label), steps)

            with FlopCounterMode(display=False) as counter:
                one = draw(range(SAMPLES))
            counted = sum(meter.by_role("forwards").values()) / SAMPLES
            flops = counter.get_total_flops() / found.lab.reference_flops / SAMPLES
            parts = [draw(range(i, min(i + PART, SAMPLES))) for i in range(0, SAMPLES, PART)]
        return Sampled(one, parts, counted, flops)


def weights_digest(networks: dict[str, nn.Module]) -> str:
    """sha256 of all weights and buffers of networks by role."""
    state = hashlib.sha256()
    for role, network in sorted(networks.items()):
        for name, value in network.state_dict().items():
            state.update(f"{role}/{name}".encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def charged(meter: Meter) -> tuple[float, float]:
    """Units charged to training, and to other phases."""
    work = meter.work("train")
    return work, float(sum(meter.units.values())) - work
