"""Timings of the parts around a training: samples, scores, start-up, a record's file, the runner."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from timing import Beside

from baselines.generators import OneStep
from bench.lab import Lab
from bench.launch import execute
from bench.record import Record, read_record, write_record
from bench.request import Request
from bench.sampling import draw_samples
from bench.suite import load_suite

SUITES = ["gmm2d", "digits"]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("suite", SUITES)
def test_one_step_samples(beside: Beside, suite: str) -> None:
    lab, count = Lab.open(load_suite(suite)), 500
    noise, cond = lab.inputs(0, range(count), lab.device)
    x = noise.initial() * 2.5

    def alone() -> None:
        with torch.no_grad():
            lab.net(x, 2.5, cond)

    def sample() -> None:
        student = OneStep({1: lab.net}, 2.5)
        draw_samples(student, lab.inputs, seed=0, count=count, steps=1, batch=count, device=lab.device)

    what = f"{count} samples in one step, {suite}"
    beside("Samples and metrics", what, sample, {"the network alone": alone})


@pytest.mark.parametrize("suite", SUITES)
def test_scoring(beside: Beside, suite: str) -> None:
    lab = Lab.open(load_suite(suite))
    count = lab.suite.protocol.samples
    samples = lab.evaluator.anchor("real", count, 1)
    what = f"all metrics of {count:,} samples, {suite}"
    beside("Samples and metrics", what, lambda: lab.evaluator.score(samples, 1), rounds=3)


@pytest.mark.parametrize("words", ["--help", "list suites", "leaderboard"])
def test_start_up(beside: Beside, words: str) -> None:
    """A command as a whole process, beside one that imports torch and ends."""

    def start(*command: str) -> None:
        subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=ROOT)

    beside(
        "Start-up and files",
        f"bench {words}",
        lambda: start("-m", "bench", *words.split()),
        {"python -c 'import torch'": lambda: start("-c", "import torch")},
        rounds=3,
    )


def largest_record() -> Record:
    """The longest of the committed ones."""
    files = (ROOT / "leaderboards" / "records").glob("*/*.json")
    return read_record(max(files, key=lambda path: path.stat().st_size))


def test_record(beside: Beside, tmp_path: Path) -> None:
    whole = largest_record()
    plain = whole.model_dump(mode="json")

    def alone() -> None:
        (tmp_path / "plain.json").write_text(json.dumps(plain, indent=1, sort_keys=True))

    references = {"json.dumps and write": alone}
    beside(
        "Start-up and files",
        "a record of the leaderboards, written whole",
        lambda: write_record(whole, tmp_path / "record.json"),
        references,
    )


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_share_of_the_runner(benchmark, suite: str, tmp_path: Path, monkeypatch) -> None:
    """A whole quick run; ``extra_info`` holds the share that is not step, sampling or feature forward."""
    from baselines.sid import SiD
    from metrics.features.digits import DigitsFeatures

    spent: Counter[str] = Counter()

    def timed(name: str, function):
        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - start

        return call

    monkeypatch.setattr(SiD, "step", timed("step", SiD.step))
    monkeypatch.setattr("bench.making.draw_samples", timed("sampling", draw_samples))
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
