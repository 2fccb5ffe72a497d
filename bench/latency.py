"""Latency and throughput of a generator: ``latency-b1-cpu@1``, ``latency-b1@1`` and ``throughput-bmax@1``.

Each call is timed between two moments when the device is idle: by CUDA events on a GPU, else by the host.
Calls of the generator and forwards of the teacher's network alternate, so that both see the same machine, and
tables show their ratio. What is timed is the generator's whole ``sample``, sampler arithmetic included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.distiller import Generator
from baselines.streams import SampleNoise
from bench.lab import Lab
from bench.memory import PeakBytes, weight_bytes
from bench.record import Latency
from bench.suite_protocol import SMOKE
from metrics.precision import tf32
from metrics.protocols.registry import shipped_protocols

WARM_UP, TIMED = 10, 50  # calls; frozen by the protocols
SMOKE_WARM_UP, SMOKE_TIMED = 1, 3  # of a run that is no result
STAGED = 10  # further calls in which stages are timed apart
LARGEST = 2**16  # of the batches that throughput tries
Call = Callable[[], object]
Parts = Mapping[str, Sequence[nn.Module]]  # modules by stage: "text encoder", "network", "autoencoder"


def measure_latency(generator: Generator, parts: Parts, lab: Lab, steps: int) -> Latency:
    """Latency of one sample.

    Args:
        parts: modules that the generator calls, by the name of their stage.
        steps: step count asked for.
    """
    protocol = "latency-b1-cpu@1" if lab.device.type == "cpu" else "latency-b1@1"
    return measured(protocol, generator, parts, lab, steps, batch=1)


def measure_throughput(
    generator: Generator, parts: Parts, lab: Lab, steps: int, largest: int = LARGEST
) -> Latency:
    """Throughput at the largest power of two, up to ``largest``, whose batch fits into the memory.

    Raises:
        torch.OutOfMemoryError: not even one sample fits.
    """
    batch = largest_batch(lambda size: call_of(generator, lab, steps, size)(), largest)
    return measured("throughput-bmax@1", generator, parts, lab, steps, batch)


def largest_batch(attempt: Callable[[int], object], largest: int = LARGEST) -> int:
    """The largest power of two for which ``attempt`` does not run out of memory.

    Raises:
        torch.OutOfMemoryError: one sample does not fit.
    """
    attempt(1)
    batch = 1
    while 2 * batch <= largest:
        try:
            attempt(2 * batch)
        except torch.OutOfMemoryError:
            break
        batch *= 2
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return batch


def measured(protocol: str, generator: Generator, parts: Parts, lab: Lab, steps: int, batch: int) -> Latency:
    """Times of calls at a batch size, of their stages, and of teacher forwards beside them; peak memory."""
    call, clock = call_of(generator, lab, steps, batch), clock_of(lab.device)
    smoke = lab.suite.protocol.id.endswith(SMOKE)
    warm_up, timed = (SMOKE_WARM_UP, SMOKE_TIMED) if smoke else (WARM_UP, TIMED)
    x = SampleNoise(0, range(batch), lab.space.shape, lab.device).initial() * lab.space.sigma_max
    cond = lab.evaluator.labels(range(batch)).to(lab.device)
    own, beside, law = [], [], shipped_protocols()[protocol].precision
    with torch.no_grad(), precision(lab.device), tf32(law.tf32):
        for number in range(warm_up + timed):
            elapsed = clock(call)
            forward = clock(lambda: lab.net(x, lab.space.sigma_max, cond))
            if number >= warm_up:
                own.append(elapsed)
                beside.append(forward)
        stages = stage_times(call, parts, clock, SMOKE_TIMED if smoke else STAGED)
        memory = peak_bytes(call, lab.device) + weight_bytes(m for part in parts.values() for m in part)
    median, reference = float(np.median(own)), float(np.median(beside))
    low, high = np.percentile(own, [25, 75])
    return Latency(
        protocol=f"{protocol}{SMOKE}" if smoke else protocol,
        batch=batch,
        median_ms=median,
        p90_ms=float(np.percentile(own, 90)),
        teacher_forward_ms=reference,
        ratio=median / reference,
        spread_ms=float(high - low),
        stages_ms=stages,
        images_per_s=1000 * batch / median,
        peak_memory_mib=memory / 2**20,
        beside="network",
        precision="fp16 autocast" if lab.device.type == "cuda" else "fp32",
        timer="cuda events" if lab.device.type == "cuda" else "host",
        compiled=False,
    )


def call_of(generator: Generator, lab: Lab, steps: int, batch: int) -> Call:
    """A call that makes ``batch`` samples; its noise is drawn at the first call and then handed out again."""
    noise = DrawnOnce(SampleNoise(0, range(batch), lab.space.shape, lab.device))
    render = lab.evaluator.rendering(range(batch), lab.device)

    def call() -> Tensor:
        with torch.no_grad(), precision(lab.device):
            return render(generator, noise, steps)

    return call


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """fp16 on a GPU, as the protocols say; fp32 elsewhere."""
    return torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()


def stage_times(
    call: Call, parts: Parts, clock: Callable[[Call], float], calls: int = STAGED
) -> dict[str, float]:
    """Median milliseconds of every stage and of what lies between (``other``), in calls of their own."""
    rows = []
    for _ in range(calls):
        with StageClock(parts) as stages:
            whole = clock(call)
        spent = stages.milliseconds
        rows.append({**spent, "other": max(whole - sum(spent.values()), 0.0)})
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


class StageClock:
    """While it is entered, adds up the time inside modules, by stage; the device is idle at every border."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.milliseconds = dict.fromkeys(parts, 0.0)
        self.handles: list[Any] = []
        self.started: list[float] = []

    def __enter__(self) -> StageClock:
        for name, modules in self.parts.items():
            for module in modules:
                self.handles.append(module.register_forward_pre_hook(self._begin))
                self.handles.append(module.register_forward_hook(self._end(name)))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        wait()
        self.started.append(time.perf_counter())

    def _end(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def end(module: nn.Module, inputs: Any, output: Any) -> None:
            wait()
            self.milliseconds[name] += 1000 * (time.perf_counter() - self.started.pop())

        return end


def peak_bytes(call: Call, device: torch.device) -> int:
    """What a call allocates at its peak, beyond what was there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return int(torch.cuda.max_memory_allocated(device) - before)
    with PeakBytes() as counted:
        call()
    return counted.peak


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


def clock_of(device: torch.device) -> Callable[[Call], float]:
    """The timer of a device: milliseconds of one call."""
    return device_milliseconds if device.type == "cuda" else host_milliseconds


def host_milliseconds(call: Call) -> float:
    """By the host's clock, with the device idle before and after."""
    wait()
    start = time.perf_counter()
    call()
    wait()
    return 1000 * (time.perf_counter() - start)


def device_milliseconds(call: Call) -> float:
    """By CUDA events around the call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def wait() -> None:
    """Until the GPU, if one is in use, has done its work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
