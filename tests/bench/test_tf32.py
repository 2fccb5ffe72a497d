"""TF32 is what the protocol says while samples are made, decoded and timed, and as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.generators import OneStep
from bench.api import LoadedRow
from bench.cell import Cell, reference_cells
from bench.errors import BenchError
from bench.events import Events
from bench.image_evaluation import DecodedImages
from bench.lab import Lab
from bench.latency import measure_latency
from bench.making import draw_block
from bench.progress import PlainReporter
from bench.stages import Bench, CellStages
from bench.store import Store
from bench.suite import load_suite, suite_names
from bench.suite_protocol import OwnProtocol
from bench.verify.again import ScoredAgain
from metrics.precision import tf32
from metrics.protocols.record import Pixels
from metrics.protocols.registry import shipped_protocols

Flags = tuple[bool, bool]


def flags() -> Flags:
    """Whether products and convolutions may use TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def put(matmul: bool, cudnn: bool) -> None:
    """Set them."""
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.fixture(autouse=True, params=[(True, False), (False, True)], ids=str)
def before(request: pytest.FixtureRequest) -> Iterator[Flags]:
    """What stands before and must stand after."""
    own = flags()
    put(*request.param)
    yield request.param
    put(*own)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab.open(load_suite("gmm2d"))


class Watched:
    """A generator that notes the settings it finds; may fail."""

    def __init__(self, lab: Lab, *, fails: bool = False) -> None:
        self.lab, self.fails, self.seen = lab, fails, list[Flags]()

    def sample(self, noise: Any, cond: Any, nfe: int) -> Tensor:
        self.seen.append(flags())
        if self.fails:
            raise BenchError("it broke")
        return torch.zeros_like(noise.initial())


def solver(lab: Lab, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """The cell of a plain solver, under a law that allows TF32 or not."""
    monkeypatch.setattr(OwnProtocol, "tf32", allowed)
    return next(cell for cell in reference_cells(lab.suite, "quick") if cell.kind == "solver")


@pytest.mark.parametrize("allowed", [True, False])
def test_both_settings_are_the_laws_inside_and_restored(allowed: bool, before: Flags) -> None:
    with tf32(allowed):
        assert flags() == (allowed, allowed)
        with tf32(not allowed):
            assert flags() == (not allowed, not allowed)
        assert flags() == (allowed, allowed)
    assert flags() == before
    with pytest.raises(BenchError), tf32(allowed):
        raise BenchError("it broke")
    assert flags() == before


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_block_is_drawn_under_the_law(
    allowed: bool, fails: bool, lab: Lab, before: Flags, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, generator = solver(lab, allowed, monkeypatch), Watched(lab, fails=fails)
    monkeypatch.setattr("bench.making.generator_of", lambda *_: generator)
    if fails:
        with pytest.raises(BenchError, match="it broke"):
            draw_block(lab, cell, None, 1, 0, 4)
    else:
        draw_block(lab, cell, None, 1, 0, 4)
    assert generator.seen == [(allowed, allowed)] and flags() == before


@pytest.mark.parametrize("allowed", [True, False])
def test_a_stage_draws_and_decodes_under_the_law(
    allowed: bool, lab: Lab, before: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def pixels(self: Any, x: Tensor) -> np.ndarray:
        seen.append(flags())
        return x.numpy()

    monkeypatch.setattr(type(lab.evaluator), "pixels", pixels)
    cell = solver(lab, allowed, monkeypatch)
    bench = Bench(lab, Store(tmp_path), PlainReporter(lambda line: None), "")
    CellStages(bench, cell, tmp_path, Events(tmp_path / "events")).sample(None, 7, 0, 4)
    assert seen == [(allowed, allowed)] and flags() == before
    generator = Watched(lab)
    row: Any = SimpleNamespace(steps=1)
    LoadedRow(None, row, lab, generator).sample(4)  # type: ignore[arg-type]
    again: Any = SimpleNamespace(cell=cell, lab=lab, generator=lambda meter: generator)
    ScoredAgain.draw(again, None, 1, 0, 4)  # type: ignore[arg-type]
    assert seen == generator.seen + seen[:1] == [(allowed, allowed)] * 3 and flags() == before


@pytest.mark.parametrize("allowed", [True, False])
def test_stored_latents_are_decoded_under_the_law(allowed: bool, before: Flags) -> None:
    seen = []

    def decode(latents: Tensor) -> Tensor:
        seen.append(flags())
        return torch.zeros(len(latents), 3, 8, 8)

    law = Pixels(rounding="half-up")
    for _ in DecodedImages(np.zeros((9, 4, 1, 1), np.float32), decode, law, fast=allowed).batches(1):
        assert flags() == before, "what sees the pictures is outside"
    assert seen == [(allowed, allowed)] * 2 and flags() == before


def test_times_are_taken_under_their_own_law(lab: Lab, before: Flags) -> None:
    seen = set()

    class Net(torch.nn.Module):
        def forward(self, x: Tensor, sigma: float, cond: Any) -> Tensor:
            seen.add(flags())
            return x

    assert not shipped_protocols()["latency-b1-cpu@1"].precision.tf32
    measure_latency(OneStep({1: Net()}, 1.0), {}, lab, 1)
    assert seen == {(False, False)} and flags() == before


@pytest.mark.parametrize("name", suite_names())
def test_suites_say_what_their_protocols_say(name: str) -> None:
    protocol = load_suite(name).protocol
    assert protocol.tf32 is shipped_protocols()[protocol.id].precision.tf32
