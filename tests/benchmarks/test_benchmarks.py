"""Timings with pytest-benchmark: ``make bench``. Nothing asserts on seconds; the plugin prints ratios."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from baselines.distiller import Distiller
from bench.cell import student_cells
from bench.context import RunContext
from bench.lab import Lab
from bench.meter import Meter
from bench.methods import MethodRegistry
from bench.sampling import draw_samples
from bench.suite import load_suite
from bench.training import Training

SUITES = ["gmm2d", "digits"]
METHODS = ["sid", "progressive"]


def trainer(suite: str, method: str) -> tuple[Distiller, RunContext]:
    """A method of a suite's preset, ready to step."""
    loaded = load_suite(suite)
    cells, _ = student_cells(loaded, MethodRegistry(), (method,), "quick", (1,), 1)
    lab, meter = Lab.open(loaded), Meter()
    context = lab.context(cells[0], meter)
    assert cells[0].method is not None
    return cells[0].method.cls(lab.teacher(meter), cells[0].config, context), context


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("method", METHODS)
def test_training_step(benchmark, suite: str, method: str) -> None:
    distiller, context = trainer(suite, method)
    distiller.step(context.next_batch())
    benchmark.extra_info["units per step"] = context.work

    def step() -> None:
        distiller.step(context.next_batch())
        context.advance()

    benchmark.pedantic(step, rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("suite", SUITES)
def test_runner_around_the_step(benchmark, suite: str, tmp_path: Path) -> None:
    """The same step inside the runner's loop: compare with ``test_training_step[sid-...]``."""
    loaded = load_suite(suite)
    cells, _ = student_cells(loaded, MethodRegistry(), ("sid",), "quick", (1,), 1)
    lab, meter = Lab.open(loaded), Meter()
    context = lab.context(cells[0], meter)
    assert cells[0].method is not None
    distiller = cells[0].method.cls(lab.teacher(meter), cells[0].config, context)
    training = Training(distiller, context, lab.law(cells[0]), tmp_path, cells[0].budget, lambda *_: None)
    benchmark.pedantic(training.iterate, rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("suite", SUITES)
def test_one_step_samples(benchmark, suite: str) -> None:
    lab = Lab.open(load_suite(suite))
    denoiser, sigma = lab.net, 2.5

    class OneStep:
        def sample(self, noise, cond, nfe):
            return denoiser(noise.initial() * sigma, sigma, cond)

    def sample() -> torch.Tensor:
        return draw_samples(
            OneStep(),
            lab.inputs,
            seed=0,
            count=500,
            steps=1,
            batch=500,
            device=lab.device,
        )

    benchmark.pedantic(sample, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("suite", SUITES)
def test_scoring(benchmark, suite: str) -> None:
    lab = Lab.open(load_suite(suite))
    samples = lab.evaluator.anchor("real", lab.suite.protocol.samples, 1)
    lab.evaluator.score(samples, 1)
    benchmark.pedantic(lambda: lab.evaluator.score(samples, 1), rounds=3)


@pytest.mark.parametrize(
    "words", [["-c", "import torch"], ["-m", "bench", "--help"], ["-m", "bench", "leaderboard"]], ids=" ".join
)
def test_start_up(benchmark, words: list[str]) -> None:
    """``bench --help`` and ``bench leaderboard`` beside importing torch, as whole processes."""
    root = Path(__file__).resolve().parent.parent.parent

    def start() -> None:
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=root)

    benchmark.pedantic(start, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("suite", SUITES)
def test_share_of_the_runner(benchmark, suite: str, tmp_path: Path, monkeypatch) -> None:
    """A whole quick run; ``extra_info`` holds the share that is not step, sampling or feature forward."""
    import time
    from collections import Counter

    from bench.launch import execute
    from bench.request import Request

    spent: Counter[str] = Counter()

    def timed(name: str, function):
        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - start

        return call

    from baselines.sid import SiD
    from metrics.features.digits import DigitsFeatures

    monkeypatch.setattr(SiD, "step", timed("step", SiD.step))
    monkeypatch.setattr("bench.stages.draw_samples", timed("sampling", draw_samples))
    monkeypatch.setattr(DigitsFeatures, "_activations", timed("features", DigitsFeatures._activations))
    request = Request(suite, ("sid",), "quick", references=False, out=tmp_path)

    def run() -> None:
        assert execute(request) == 0

    start = time.perf_counter()
    benchmark.pedantic(run, rounds=1)
    total = time.perf_counter() - start
    benchmark.extra_info.update({name: round(seconds, 2) for name, seconds in spent.items()})
    benchmark.extra_info["total"] = round(total, 2)
    benchmark.extra_info["share of the runner"] = round(1 - sum(spent.values()) / total, 4)
