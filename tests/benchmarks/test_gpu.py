"""What a GPU should reach, at the size of ImageNet-64; without one every line says *not measured*."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official import official
from random_inception import write_random_inception
from stepping import IMAGENET64, SIZES, Case, case, missing
from test_memory import LOOP
from timing import Beside, Took
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.distiller import Noise
from baselines.generators import OneStep
from baselines.streams import SampleNoise
from bench.cost.gpus import Gpu, gpu_table
from bench.latency import DrawnOnce, host_milliseconds
from metrics.features.registry import load_extractor
from metrics.features.stream import stream_moments

PART = "On a GPU, by the clock"
SIZE = SIZES[IMAGENET64]
PEAK, GRAPH = "its FLOPs at the peak of the GPU", "the network as a captured graph"
FORWARDS = "the forwards of both networks"
AIMS = {PEAK: round(1 / 0.45, 2), LOOP: round(1 / 1.8, 2)}
IMAGES, BATCH, NOISE = 2000, 250, 2.5


def clocked(call: Callable[[], Any]) -> Callable[[], Took]:
    """The seconds of a call between two moments when the device is idle."""
    return lambda: Took(host_milliseconds(call) / 1000)


def gpu_named(name: str) -> Gpu | None:
    """The GPU of our table that a device's own name names ("NVIDIA H200"); None if that is none of them."""
    words = name.lower().split()
    return next((gpu for key, gpu in gpu_table().gpus.items() if key in words), None)


def flops_of(made: Case, cycle: Callable[[], None]) -> float:
    """FLOPs that the meter counts in a cycle: two for a multiplication with its addition."""
    before = made.context.work
    cycle()
    return (made.context.work - before) * made.context.reference_flops


@pytest.mark.parametrize("method", ("sid", "dmd2[ratio=2]"))
def test_iteration(beside: Beside, method: str, tmp_path: Path) -> None:
    name = method.split("[")[0]
    what = f"{name} on {IMAGENET64}, bf16"
    if missing(IMAGENET64):
        beside.absent(PART, what, AIMS)
        return
    made = case(IMAGENET64, method, tmp_path)
    flops, gpu = flops_of(made, made.iterate), gpu_named(torch.cuda.get_device_name())
    theirs = official(IMAGENET64, name, made)
    references = {
        PEAK: gpu and (lambda: Took(flops / gpu.peak(half=True))),
        LOOP: theirs and clocked(theirs),
    }
    beside(PART, f"{what}, batch {made.context.batch_size}", clocked(made.iterate), references, aims=AIMS)


def captured(call: Callable[[], Tensor]) -> Callable[[], None]:
    """A call as a CUDA graph, which one launch runs again on the same inputs."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def noise_of(rows: range) -> SampleNoise:
    return SampleNoise(0, rows, SIZE.shape, SIZE.device)


def labels_of(rows: range) -> Tensor:
    return torch.arange(rows.start, rows.stop, device=SIZE.device) % SIZE.classes


def sampler(net: Denoiser) -> tuple[Callable[[Noise, Tensor], Tensor], Callable[[Tensor, Cond], Tensor]]:
    """One-step samples of noise and labels, and the network's part of it."""
    generator = OneStep({1: net}, NOISE)

    @torch.no_grad()
    def sample(noise: Noise, label: Tensor) -> Tensor:
        return generator.sample(noise, Cond(label=label), 1)

    @torch.no_grad()
    def forward(x: Tensor, cond: Cond) -> Tensor:
        return net(x, NOISE, cond)

    return sample, forward


def test_one_step(beside: Beside) -> None:
    """A sample at batch 1 costs what the network costs, launches included."""
    what, aims = f"one sample in one step, {IMAGENET64}, bf16", {GRAPH: 1.15}
    if missing(IMAGENET64):
        beside.absent(PART, what, aims)
        return
    sample, forward = sampler(SIZE.network())
    noise, label = DrawnOnce(noise_of(range(1))), labels_of(range(1))
    graph = captured(lambda: forward(NOISE * noise.initial(), Cond(label=label)))
    beside(PART, what, clocked(lambda: sample(noise, label)), {GRAPH: clocked(graph)}, aims=aims, rounds=20)


def test_generate_and_measure(beside: Beside, tmp_path: Path) -> None:
    """Samples, pixels, features, moments: the device is to be busy with the networks 95 % of the time."""
    what, aims = f"{IMAGES} images in one step and their Inception features, {IMAGENET64}", {FORWARDS: 1.05}
    if missing(IMAGENET64):
        beside.absent(PART, what, aims)
        return
    weights = tmp_path / "weights.pth"
    write_random_inception(weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    extractor = load_extractor("inception-torch-fidelity", weights, sha256=digest, device=SIZE.device)
    sample, forward = sampler(SIZE.network())
    batches = [range(start, start + BATCH) for start in range(0, IMAGES, BATCH)]
    x, label = noise_of(batches[0]).initial(), labels_of(batches[0])
    pixels = torch.zeros(BATCH, *SIZE.shape, dtype=torch.uint8, device=SIZE.device)

    def measured() -> object:
        made = (sample(noise_of(rows), labels_of(rows)) for rows in batches)
        return stream_moments(extractor, (((x + 1) * 127.5).clamp(0, 255).byte() for x in made))

    def alone() -> None:
        for _ in batches:
            forward(x, Cond(label=label))
            extractor(pixels)

    beside(PART, what, clocked(measured), {FORWARDS: clocked(alone)}, aims=aims, rounds=3)


# ------------------------------------------------------------------ what of it runs anywhere


def test_devices_are_found_by_their_names() -> None:
    found = gpu_named("NVIDIA H200")
    assert found is not None and found.peak(half=True) == 989.5e12
    assert gpu_named("NVIDIA GeForce GTX 970") is None


def test_flops_are_those_of_the_calls(tmp_path: Path) -> None:
    """SiD's 11 forwards' worth: three networks forward twice or once, the backward passes beside."""
    made = case("gmm2d", "sid", tmp_path)
    calls = flops_of(made, made.iterate) / made.context.reference_flops / made.context.batch_size
    assert calls == 11.0
    assert made.context.reference_flops == pytest.approx(2 * sum_of_weights(made), rel=0.05)


def sum_of_weights(made: Case) -> int:
    """Multiplications of a forward of a network of linear layers."""
    return sum(p.numel() for p in made.method.teacher.net.plain.parameters() if p.ndim == 2)
