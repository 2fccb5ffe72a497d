"""Latency of a generator: ``latency-b1-cpu@1`` (host timer), ``latency-b1@1`` (device synchronised)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.distiller import Generator
from baselines.streams import SampleNoise
from bench.lab import Lab
from bench.record import Latency

WARM_UP, TIMED = 10, 50  # calls; frozen by the protocol


def measure_latency(generator: Generator, teacher: Any, lab: Lab, steps: int) -> Latency:
    """Median and 90th percentile of one-sample calls, and the ratio to one teacher forward timed beside them.

    Noise is drawn once, in the warm-up; calls of generator and teacher alternate, so that both see the
    same machine.
    """
    noise = DrawnOnce(SampleNoise(0, [0], lab.space.shape, lab.device))
    cond = lab.evaluator.labels(range(1)).to(lab.device)
    x = noise.initial() * lab.space.sigma_max
    own, reference = [], []
    with torch.no_grad():
        for call in range(WARM_UP + TIMED):
            seconds = timed(lambda: generator.sample(noise, cond, steps), lab.device)
            forward = timed(lambda: teacher(x, lab.space.sigma_max, cond), lab.device)
            if call >= WARM_UP:
                own.append(1000 * seconds)
                reference.append(1000 * forward)
    median, beside = float(np.median(own)), float(np.median(reference))
    return Latency(
        protocol="latency-b1-cpu@1" if lab.device.type == "cpu" else "latency-b1@1",
        batch=1,
        median_ms=median,
        p90_ms=float(np.percentile(own, 90)),
        teacher_forward_ms=beside,
        ratio=median / beside,
    )


class DrawnOnce:
    """Keyed noise that is drawn at its first use and then handed out again."""

    def __init__(self, noise: SampleNoise) -> None:
        self.noise = noise
        self.drawn: dict[int, Tensor] = {}

    def initial(self) -> Tensor:
        """The latent."""
        return self.at(0)

    def at(self, step: int) -> Tensor:
        """Noise of a sampler step."""
        if step not in self.drawn:
            self.drawn[step] = self.noise.at(step)
        return self.drawn[step]


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, with the device idle before and after."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    synchronise()
    start = time.perf_counter()
    call()
    synchronise()
    return time.perf_counter() - start
