"""Speed of the machine at hand in work units a second, from a short measurement.

The reference network is timed at the batch sizes of the run, with random weights where its own are not here:
values do not change the time. A network too large for this CPU is not run at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from baselines.diffusion.denoiser import Denoiser
from baselines.distiller import Space
from baselines.streams import torch_generator
from bench.cost.reference import blank_cond
from bench.models import body, teacher_model
from bench.suite import Suite

CPU_SECONDS = 0.5  # per batch size
GPU_SECONDS = 10.0  # in all
CPU_CALL, GPU_CALL = 2e10, 1e13  # FLOPs of one timed call at most: about a second on a slow device
MATRIX = 1024  # side of the product that stands in for a network too large for the CPU
SPREAD = 0.05  # of random weights


@dataclass(frozen=True)
class Calibration:
    """Measured speed.

    Attributes:
        device: as it is shown.
        speeds: units per second by batch size.
        how: one sentence on what was measured.
    """

    device: str
    speeds: dict[int, float]
    how: str

    def seconds(self, units: float, batch: int) -> float:
        """Time of so many units at a batch size that was asked for."""
        return units / self.speeds[batch]


def calibrate(
    net: Callable[[], Denoiser], space: Space, flops: int, sizes: Iterable[int], device: torch.device
) -> Calibration:
    """Measure the units per second at each batch size.

    Args:
        net: gives the reference network on the device; not called if it is too large to be timed.
        flops: of one forward on one sample.
    """
    wanted, shown = sorted(set(sizes)), device_name(device)
    limit = GPU_CALL if device.type == "cuda" else CPU_CALL
    if device.type == "cpu" and flops > limit:
        rate = product_rate()
        how = (
            f"one forward takes too long to be timed here; from a matrix product at {rate / 1e9:.3g} GFLOP/s"
        )
        return Calibration(shown, dict.fromkeys(wanted, rate / flops), how)
    seconds = GPU_SECONDS / len(wanted) if device.type == "cuda" else CPU_SECONDS
    network = net()
    speeds = {
        size: units_per_second(network, space, min(size, max(1, int(limit // flops))), seconds, device)
        for size in wanted
    }
    return Calibration(shown, speeds, "timed forwards of the reference network")


def units_per_second(net: Denoiser, space: Space, batch: int, seconds: float, device: torch.device) -> float:
    """Forwards on one sample per second, in batches that fit; one call warms up within the time given."""
    x = torch.zeros(batch, *space.shape, device=device)
    cond, calls = blank_cond(space, batch, device), 0
    end = time.perf_counter() + seconds
    try:
        with torch.no_grad():
            net(x, 1.0, cond)
            wait(device)
            start = time.perf_counter()
            while calls == 0 or time.perf_counter() < end:
                net(x, 1.0, cond)
                wait(device)
                calls += 1
    except torch.OutOfMemoryError:
        if batch == 1:
            raise
        return units_per_second(net, space, batch // 2, seconds, device)
    return calls * batch / (time.perf_counter() - start)


def product_rate() -> float:
    """FLOP/s of an fp32 matrix product on the CPU, with the threads that torch has."""
    a, calls = torch.full((MATRIX, MATRIX), 0.5), 0
    out = a @ a
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < CPU_SECONDS:
        torch.matmul(a, a, out=out)
        calls += 1
    return max(calls, 1) * 2 * MATRIX**3 / spent


def random_network(suite: Suite, device: torch.device) -> Denoiser:
    """The reference network of a suite with random weights, as it would run on a device."""
    with device:
        net = teacher_model(suite).build().eval().requires_grad_(False)
    draws = torch_generator(0, "init", device=device)
    for parameter in net.parameters():
        parameter.uniform_(-SPREAD, SPREAD, generator=draws)
    net.body = body(suite.model, str(device)) if suite.model else None
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """A device as it is shown."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads != 1 else ''}"
