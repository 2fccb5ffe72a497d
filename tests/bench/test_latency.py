"""Latency, its stages and its memory: structure and arithmetic, never seconds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.generators import OneStep
from bench.lab import Lab
from bench.latency import (
    STAGED,
    TIMED,
    WARM_UP,
    StageClock,
    host_milliseconds,
    largest_batch,
    measure_latency,
    measure_throughput,
)
from bench.memory import PeakBytes, weight_bytes
from bench.suite import load_suite


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab.open(load_suite("gmm2d"))


class Counted(nn.Module):
    """A network that counts the calls and rows it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.calls: list[int] = []

    def forward(self, x, sigma, cond):
        self.calls.append(len(x))
        return self.layer(x)


def test_latency_of_a_generator(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    student, seen = Counted(), []
    lab.net.register_forward_hook(lambda *given: seen.append(len(given[1][0])))
    found = measure_latency(OneStep({1: student}, 2.5), {"network": [student]}, lab, 1)
    assert (found.protocol, found.batch, found.timer, found.precision) == (
        "latency-b1-cpu@1",
        1,
        "host",
        "fp32",
    )
    assert student.calls == [1] * (WARM_UP + TIMED + STAGED + 1)  # the last for its memory
    assert seen == [1] * (WARM_UP + TIMED) and found.beside == "network"  # never the closed form
    assert found.ratio == pytest.approx(found.median_ms / found.teacher_forward_ms)
    assert found.median_ms <= found.p90_ms and found.spread_ms >= 0
    assert found.images_per_s == pytest.approx(1000 / found.median_ms)
    assert set(found.stages_ms) == {"network", "other"} and found.stages_ms["network"] > 0
    weights = 4 * (2 * 2 + 2)
    assert weights < found.peak_memory_mib * 2**20 < weights + 1000
    assert found.compiled is False


def test_throughput_is_measured_at_the_largest_batch(lab: Lab) -> None:
    student = Counted()
    found = measure_throughput(OneStep({1: student}, 2.5), {"network": [student]}, lab, 1, largest=8)
    assert (found.protocol, found.batch) == ("throughput-bmax@1", 8)
    assert student.calls[:4] == [1, 2, 4, 8] and set(student.calls[4:]) == {8}
    assert found.images_per_s == pytest.approx(8000 / found.median_ms)


def test_largest_batch_stops_where_the_memory_ends() -> None:
    tried = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > 20:
            raise torch.OutOfMemoryError

    assert largest_batch(attempt) == 16 and tried == [1, 2, 4, 8, 16, 32]

    def never(size: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        largest_batch(never)


def test_stages_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipeline(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text, self.net, self.vae = nn.Identity(), nn.Identity(), nn.Identity()

        def forward(self, x):
            for part in (self.text, self.net, self.net, self.vae):
                x = part(x)
            return x

    now = [0.0]
    monkeypatch.setattr("bench.latency.time.perf_counter", lambda: now[0])
    pipeline = Pipeline()
    for part, seconds in ((pipeline.text, 1), (pipeline.net, 10), (pipeline.vae, 3)):
        part.register_forward_hook(lambda *given, seconds=seconds: now.__setitem__(0, now[0] + seconds))
    parts = {"text encoder": [pipeline.text], "network": [pipeline.net], "autoencoder": [pipeline.vae]}
    with StageClock(parts) as clock:
        whole = host_milliseconds(lambda: pipeline(torch.zeros(1)))
    assert clock.milliseconds == {"text encoder": 1000, "network": 20_000, "autoencoder": 3000}
    assert whole == 24_000
    with StageClock(parts):
        pass
    before = dict(clock.milliseconds)
    pipeline(torch.zeros(1))
    assert clock.milliseconds == before  # nothing is watched afterwards


def test_peak_memory_counts_what_lives_together() -> None:
    with torch.no_grad(), PeakBytes() as counted:
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000 together
        del a
        c = b.view(10, 100).t() + 0  # a view costs nothing
        b.add_(1)
        del b, c
    assert counted.peak == 8000 and counted.live == 0


def test_weights_count_once() -> None:
    layer = nn.Linear(3, 5)
    assert weight_bytes([layer, nn.Sequential(layer), nn.BatchNorm1d(2)]) == 4 * 20 + 4 * 8 + 8
