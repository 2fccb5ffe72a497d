"""Trainings through ``torch.compile``: the same numbers, the same counts; refused where it is of no use."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_spread import cell_of
from thread_group import on_ranks

from bench.cell import reference_cells
from bench.cli import main
from bench.compiling import Compiled, calls_of, check_compiler
from bench.distributed.spread import Spread
from bench.errors import UsageError
from bench.lab import Lab
from bench.making import training_of
from bench.meter import ALONE, Sharing
from bench.progress import PlainReporter
from bench.provenance import provenance
from bench.stages import Bench, surroundings
from bench.store import Store
from bench.suite import load_suite
from bench.training import Training

pytestmark = pytest.mark.usefixtures("one_thread")
compiles = pytest.mark.skipif(
    "isolate_recompiles" not in inspect.signature(torch.compile).parameters,
    reason="this torch cannot keep the graphs of networks apart, so --compile refuses it",
)
METHODS = [
    "lcm",
    "moment_matching[steps=4,variant=instant]",
    pytest.param("dmd2[steps=1]", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab.open(load_suite("gmm2d"))


def compared(lab: Lab, label: str, folder: Path, share: Sharing, steps: int) -> tuple[Training, Training]:
    """Two trainings side by side, the second by ``share``; scalars must agree to 1e-4."""
    cell = cell_of(label, lab)
    plain, other = (training_of(lab, cell, folder, lambda *_: None, one) for one in (ALONE, share))
    for _ in range(steps):
        assert other.iterate() == pytest.approx(plain.iterate(), rel=1e-4, abs=1e-6)
    assert other.context.meter.state_dict() == plain.context.meter.state_dict()
    return plain, other


@compiles
@pytest.mark.parametrize("label", METHODS)
def test_traced_trainings_have_the_same_bits_and_counts(label: str, lab: Lab, tmp_path: Path) -> None:
    """Backend ``eager`` runs what was traced as it is: what is traced is all of the network, and no more."""
    share = Compiled("eager")
    plain, other = compared(lab, label, tmp_path, share, steps=2)
    assert {method for _, method in share.methods} <= {"__call__", "raw", "features"} and share.methods
    for role, net in plain.context.networks.items():
        for a, b in zip(net.plain.parameters(), other.context.networks[role].plain.parameters(), strict=True):
            assert torch.equal(a, b)


@compiles
def test_noise_levels_do_not_become_graphs() -> None:
    graphs = []

    def backend(graph: Any, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor, sigma: Any) -> torch.Tensor:
            return x * sigma

    compiled, net, x = Compiled(backend), Net(), torch.ones(3)  # type: ignore[arg-type]
    for sigma in (0.1, 0.2, 80.0):
        assert torch.equal(compiled.call(net, "__call__", x, sigma), x * sigma)
    assert len(graphs) == 1


@compiles
def test_compiled_calls_are_shared_out_too(lab: Lab) -> None:
    """Ranks compile what they call, with weights whose gradients are summed."""
    net, calls = lab.net, Compiled("aot_eager")
    x = torch.linspace(-1, 1, 10).reshape(5, 2)

    def gradients(share: Sharing) -> list[torch.Tensor]:
        weights = list(net.parameters())
        loss = share.call(net, "__call__", x, torch.full((5,), 0.7)).square().sum()
        return list(torch.autograd.grad(loss, weights))

    net.requires_grad_(True)
    try:
        expected = gradients(ALONE)
        (found,) = on_ranks(1, lambda group: gradients(Spread(group, calls)))
    finally:
        net.requires_grad_(False)
    assert calls.methods
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_default_is_plain_and_the_record_says_what_was_used(lab: Lab, tmp_path: Path) -> None:
    assert calls_of(False, lab.device) is ALONE
    made = calls_of(True, lab.device)
    assert isinstance(made, Compiled) and not made.graphs and made.slack > ALONE.slack == 1.0
    cell = cell_of("sid", lab)
    assert not provenance(lab, cell).compiled and provenance(lab, cell, compiled=True).compiled
    (solver, *_) = reference_cells(lab.suite, "quick")
    assert not provenance(lab, solver, compiled=True).compiled
    plain = Bench(lab, Store(tmp_path), PlainReporter(lambda line: None), "bench run")
    one, other = surroundings(plain), surroundings(replace(plain, compiled=True))
    assert one.pop("training") != other.pop("training")  # another training,
    assert one == other  # whose samples are drawn and scored as any other's


def test_it_is_refused_where_it_does_not_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--suite", "gmm2d", "--compile", "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "--compile: suite gmm2d on a CPU takes longer" in said and said.count("\n") == 1


def test_it_is_refused_where_nothing_compiles(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no compiler found\nlong story")

    monkeypatch.setattr(torch, "compile", broken)
    elsewhere: Any = replace(lab, suite=load_suite("imagenet64"))
    with pytest.raises(UsageError, match=r"does not work here \(no compiler found\); it needs a C\+\+ comp"):
        check_compiler(elsewhere)


@compiles
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("label", ["sid", "dmd2[steps=1]"])
def test_inductor_agrees(label: str, tmp_path: Path) -> None:
    """On a U-Net with attention; minutes of compiling."""
    compared(Lab.open(load_suite("digits")), label, tmp_path, Compiled(), steps=3)
