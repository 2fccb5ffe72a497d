"""Activations made again give the same bits, for less memory."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tiny_pipeline import unet

from baselines.networks.checkpointing import checkpoint_blocks, checkpoints
from baselines.networks.text_unet import TextUNet
from baselines.streams import torch_generator
from bench.cell import student_cells
from bench.cli import main
from bench.lab import Lab
from bench.making import training_of
from bench.memory import PeakBytes
from bench.methods import MethodRegistry
from bench.suite import load_suite
from bench.training import Training

METHODS = ["sid", "dmd2", "moment_matching[variant=instant]"]


def training(method: str, folder: Path, *, forgets: bool) -> Training:
    """A training on digits at a batch of eight."""
    suite = load_suite("digits")
    presets = {name: preset.model_copy(update={"batch": 8}) for name, preset in suite.methods.items()}
    suite = suite.model_copy(update={"methods": presets})
    lab = Lab.open(suite, checkpointing=forgets)
    cells, _ = student_cells(suite, MethodRegistry(), (method,), "quick", (8, 1), 1)
    return training_of(lab, cells[0], folder, lambda *_: None)


@pytest.mark.parametrize("method", METHODS)
def test_trainings_have_the_same_bits(method: str, tmp_path: Path, one_thread: None) -> None:
    plain, spare = (training(method, tmp_path, forgets=one) for one in (False, True))
    for _ in range(2):
        assert plain.iterate() == spare.iterate()
    assert plain.context.work == spare.context.work  # what is made again is not charged
    for role, net in plain.context.networks.items():
        other = spare.context.networks[role].plain
        assert role == "head" or (checkpoints(other) and not checkpoints(net.plain))
        for a, b in zip(net.plain.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_the_peak_is_lower(tmp_path: Path) -> None:
    peaks = []
    for forgets in (False, True):
        made = training("sid", tmp_path, forgets=forgets)
        made.iterate()
        with PeakBytes() as bytes_:
            made.iterate()
        peaks.append(bytes_.peak)
    assert peaks[1] < 0.5 * peaks[0], peaks


def test_a_pipeline_gives_the_same_gradients() -> None:
    plain = TextUNet(unet())
    spare = deepcopy(plain)
    checkpoint_blocks(spare)
    assert checkpoints(spare) and not checkpoints(plain)
    x, level = torch.randn(2, 4, 8, 8, generator=torch_generator(0, "data")), torch.tensor([10.0, 700.0])
    text = torch.ones(2, 5, plain.unet.config.cross_attention_dim)
    for net in (plain, spare):
        net.requires_grad_(True)(x, level, text=text).square().mean().backward()
    for a, b in zip(plain.parameters(), spare.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)
    assert any(p.grad is not None and p.grad.any() for p in spare.parameters())


def test_labs_of_other_guidance_forget_too() -> None:
    suite = load_suite("shapes")
    assert suite.pipeline is not None
    ranges = suite.model_copy(update={"pipeline": suite.pipeline.model_copy(update={"learned": (2.0, 5.0)})})
    for asked in (False, True):
        lab = Lab.open(suite, checkpointing=asked)
        assert lab.of(ranges) is not lab
        assert checkpoints(lab.net) == checkpoints(lab.of(ranges).net) == asked


def test_a_copy_forgets_by_itself() -> None:
    net = Lab.open(load_suite("digits")).net
    checkpoint_blocks(net)
    copy = deepcopy(net)
    block = next(one for one in copy.modules() if "forward" in vars(one))
    assert block.forward.args[0].__self__ is block  # not the block that it was copied from


def test_a_network_without_blocks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--suite", "gmm2d", "--method", "sid", "--checkpointing", "--out", str(tmp_path / "runs")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "--checkpointing: suite gmm2d" in said and said.count("\n") == 1
