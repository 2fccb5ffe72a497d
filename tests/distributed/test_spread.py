"""Calls shared out by rows: values, gradients and whole trainings equal those of one process."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_group import ThreadGroup, on_ranks
from torch import nn

from baselines.diffusion.cond import Cond
from bench.cell import Cell, student_cells
from bench.distributed.following import Follower
from bench.distributed.group import Group
from bench.distributed.spread import Spread
from bench.errors import BenchError
from bench.lab import Lab
from bench.launchers.torchrun import identity
from bench.making import training_of
from bench.meter import ALONE, Meter, Sharing
from bench.methods import MethodRegistry
from bench.progress import PlainReporter
from bench.runner import Runner
from bench.sampling import draw_samples
from bench.stages import Bench, surroundings
from bench.store import Store, read_json
from bench.suite import load_suite
from bench.training import CHECKPOINT_SECONDS, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@given(count=st.integers(0, 50), size=st.integers(1, 7))
def test_rows_are_shared_out_once_and_evenly(count: int, size: int) -> None:
    slices = [Group(rank, size).rows(count) for rank in range(size)]
    assert [i for rows in slices for i in range(rows.start, rows.stop)] == list(range(count))
    sizes = [rows.stop - rows.start for rows in slices]
    assert sizes == Group(0, size).sizes(count) and max(sizes) - min(sizes) <= 1


class Net(nn.Module):
    """Rows do not mix; one weight is frozen; a label and a number for all are taken too."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64), requires_grad=False)

    def forward(self, x: torch.Tensor, sigma: Any, cond: Cond | None = None) -> torch.Tensor:
        out = torch.tanh(x @ self.a) * sigma + self.b
        return out if cond is None or cond.label is None else out * cond.label[:, None]


def value_and_gradients(call: Any, net: Net, count: int) -> list[torch.Tensor]:
    """Of a loss that couples the rows: outputs, and gradients in x and in the weights, by two routes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    sigma = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    cond = Cond(label=torch.arange(count))
    out = call(net, "__call__", x, sigma, cond)
    again = call(net, "__call__", out, 0.5)  # a call on a call: gradients pass through inputs
    loss = (out.sum(0) ** 2).sum() + (again.mean(0) ** 3).sum()
    in_weights = torch.autograd.grad(loss, [net.a], retain_graph=True)[0]
    in_x, in_a = torch.autograd.grad(loss, [x, net.a])
    return [out.detach(), again.detach(), in_x, in_a, in_weights]


@settings(max_examples=12, deadline=None)
@given(count=st.integers(1, 9), size=st.integers(1, 4))
def test_values_and_gradients_are_those_of_one_process(count: int, size: int) -> None:
    expected = value_and_gradients(ALONE.call, Net(), count)
    for found in on_ranks(size, lambda group: value_and_gradients(Spread(group).call, Net(), count)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_gradient_that_is_not_summed_would_be_seen() -> None:
    """The bar means something: rows alone give another gradient of the weights."""
    expected = value_and_gradients(ALONE.call, Net(), 6)[3]

    def unsummed(group: ThreadGroup) -> torch.Tensor:
        object.__setattr__(group, "summed", lambda tensors: list(tensors))
        return value_and_gradients(Spread(group).call, Net(), 6)[3]

    assert (on_ranks(2, unsummed)[0] - expected).abs().max() > 1e-3


def test_weights_are_left_alone_where_nothing_is_learned() -> None:
    net = Net().requires_grad_(False)

    def work(group: ThreadGroup) -> torch.Tensor:
        object.__setattr__(group, "summed", lambda tensors: pytest.fail("an exchange for nothing"))
        x = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)
        Spread(group).call(net, "__call__", x, 1.0).sum().backward()
        assert x.grad is not None
        return x.grad

    first, second = on_ranks(2, work)
    assert torch.equal(first, second) and first.abs().sum() > 0


class Tied(Net):
    """One weight at two places, and a call that fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        self.again.weight = self.a

    def forward(self, x: torch.Tensor, sigma: Any, cond: Cond | None = None) -> torch.Tensor:
        if not isinstance(sigma, torch.Tensor) and sigma < 0:
            raise ValueError("a noise level below 0")
        return self.again(super().forward(x, sigma, cond))


def test_a_weight_at_two_places_gets_the_gradients_of_both() -> None:
    expected = value_and_gradients(ALONE.call, Tied(), 5)
    for found in on_ranks(2, lambda group: value_and_gradients(Spread(group).call, Tied(), 5)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_network_has_its_own_weights_after_a_call_whatever_happens() -> None:
    def work(group: ThreadGroup) -> bool:
        net, spread = Tied(), Spread(group)
        own = [(name, id(p)) for name, p in net.named_parameters(remove_duplicate=False)]
        x = torch.ones(4, 3, dtype=torch.float64)
        spread.call(net, "__call__", x, 1.0)
        with pytest.raises(ValueError, match="below 0"):
            spread.call(net, "__call__", x, -1.0)
        kept = [(name, id(p)) for name, p in net.named_parameters(remove_duplicate=False)]
        return kept == own and all(isinstance(p, nn.Parameter) for p in net.parameters())

    assert on_ranks(2, work) == [True, True]


# ------------------------------------------------------------------ whole trainings

FAST = ["sid", "dmd2[steps=1]", "lcm", "moment_matching[steps=8]", "ddil[base=lcm]"]
SLOW = ["dmd", "dmd2[steps=4]", "progressive", "ddil[base=dmd2,steps=4]"]
# the instant variant differentiates in forward mode, which threads cannot: see test_processes.py
METHODS = [*FAST, *(pytest.param(label, marks=pytest.mark.slow) for label in SLOW)]
STEPS, BATCH = 20, 15  # a batch that two ranks cannot halve


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab.open(load_suite("gmm2d"))


def cell_of(label: str, lab: Lab) -> Cell:
    (cell, *_), _ = student_cells(lab.suite, MethodRegistry(), (label,), "quick", (1, 2, 4, 8), 1)
    assert cell.preset is not None
    small = {"pairs": 30, "pair_steps": 2, "real_batches": 3, "warmup": 0, "ratio": 2}
    known = {key: value for key, value in small.items() if key in type(cell.config).model_fields}
    preset = cell.preset.model_copy(update={"batch": BATCH})
    return replace(cell, preset=preset, config=cell.config.model_copy(update=known))


def trained(lab: Lab, cell: Cell, share: Sharing) -> tuple[list[list[float]], float, dict[str, float]]:
    """Scalars of the first steps, a sum over the student's weights, and the work by role."""
    meter = Meter()
    context = lab.context(cell, meter, share)
    assert cell.method is not None
    method = cell.method.cls(lab.teacher(meter, share), cell.config, context)
    scalars = []
    for _ in range(STEPS):
        scalars.append([float(value) for value in method.step(context.next_batch()).values()])
        context.advance()
    students = method.students()
    weights = students[max(students)].plain.parameters()
    return scalars, sum(float(p.detach().double().abs().sum()) for p in weights), meter.by_role()


@pytest.mark.parametrize("label", METHODS)
def test_first_losses_are_those_of_one_process(label: str, lab: Lab) -> None:
    cell = cell_of(label, lab)
    losses, weights, work = trained(lab, cell, ALONE)
    ranks = on_ranks(2, lambda group: trained(lab, cell, Spread(group)))
    for found, sums, units in ranks:
        for one, other in zip(found, losses, strict=True):
            assert one == pytest.approx(other, rel=1e-5, abs=1e-5)
        assert sums == pytest.approx(weights, rel=1e-6)
        assert units == work  # every rank counts the work of all
    assert ranks[0] == ranks[1]  # to the bit: nothing has to be sent round again


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_a_training_goes_on_with_another_number_of_processes(
    before: int, after: int, lab: Lab, tmp_path: Path
) -> None:
    """What one wrote the other reads, and losses stay those of a single process that was never stopped."""
    cell = cell_of("dmd2[steps=1]", lab)

    def going_on(size: int, steps: int, *, last: bool) -> list[dict[str, float]]:
        def work(group: ThreadGroup) -> list[dict[str, float]]:
            kind = Training if group.leads else Follower
            training = training_of(lab, cell, tmp_path, lambda *_: None, Spread(group), kind)
            training.resume()
            scalars = [training.iterate() for _ in range(steps)]
            training.finish() if last else training.save()
            return scalars

        first, *others = on_ranks(size, work)
        assert all(other == first for other in others)
        return first

    whole = training_of(lab, cell, tmp_path / "alone", lambda *_: None)
    expected = [whole.iterate() for _ in range(8)]
    found = going_on(before, 4, last=False) + going_on(after, 4, last=True)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5)
    made = read_json(tmp_path / "training.json")
    assert made["processes"] == [before, after] and made["cost"]["iterations"] == 8
    assert made["notes"] == [f"trained by {before}, then by {after} processes"]


def test_a_rank_that_is_late_does_not_go_on_from_what_this_training_wrote(lab: Lab, tmp_path: Path) -> None:
    """Rank 0 began without a checkpoint and may have written its first one by then."""
    cell = cell_of("lcm", lab)

    def begun(group: ThreadGroup) -> dict[str, float]:
        kind = Training if group.leads else Follower
        training = training_of(lab, cell, tmp_path, lambda *_: None, Spread(group), kind)
        end = time.monotonic() + 1.0
        while not (group.leads or (tmp_path / "checkpoint.pt").is_file() or time.monotonic() > end):
            time.sleep(0.01)
        training.resume()
        training.save()
        return training.iterate()

    first, second = on_ranks(2, begun)
    assert first == second


def test_the_number_of_processes_does_not_decide_where_a_training_lies(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, Store(tmp_path), PlainReporter(lambda line: None), "bench run")
    assert surroundings(bench) == surroundings(replace(bench, processes=4))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_samples_are_the_same_bytes_for_any_number_of_processes(size: int, lab: Lab) -> None:
    class Ancestral:
        def sample(self, noise, cond, nfe):  # type: ignore[no-untyped-def]
            x = noise.initial() * 80
            for step in range(1, nfe + 1):
                x = lab.net(x, 80.0 / step, cond) + noise.at(step)
            return x

    def draw(team: Group | None) -> torch.Tensor:
        common: dict[str, Any] = {"seed": 3, "count": 50, "steps": 2, "batch": 8, "device": lab.device}
        return draw_samples(Ancestral(), lab.inputs, **common, team=team)

    expected = draw(None)
    for found in on_ranks(size, draw):
        assert torch.equal(found, expected)


# ------------------------------------------------------------------ agreement


@pytest.mark.parametrize(
    ("where", "key"),
    [("bench.launchers.torchrun.__version__", "distillbench"), ("torch.__version__", "torch")],
)
def test_a_rank_of_another_version_is_refused(
    where: str, key: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(lab, Store(tmp_path), PlainReporter(lambda line: None), "bench run")
    runner, cells = Runner(bench, None), [cell_of("sid", lab)]
    found = [identity(runner, cells)]
    monkeypatch.setattr(where, "0.0.1")
    found.append(identity(runner, cells))
    with pytest.raises(BenchError, match=rf"rank 1 on .*: {key} is 0\.0\.1, expected .* as on rank 0"):
        on_ranks(2, lambda group: group.agree(found[group.rank]))


def test_ranks_that_differ_are_refused() -> None:
    digests = [{"torch": "2.9", "digest of teacher": "aa"}, {"torch": "2.9", "digest of teacher": "bb"}]
    with pytest.raises(BenchError, match=r"rank 1 on .*: digest of teacher is bb, expected aa as on rank 0"):
        on_ranks(2, lambda group: group.agree(digests[group.rank]))
    assert on_ranks(2, lambda group: group.agree(digests[0])) == [None, None]


def test_checkpoints_that_rank_0_writes_alone_need_no_agreement(lab: Lab, tmp_path: Path) -> None:
    """One exchange for each iteration would be one too many (in shards all write: see test_shards.py)."""
    cell = cell_of("sid", lab)

    def due(group: ThreadGroup) -> list[bool]:
        training = training_of(lab, cell, tmp_path, lambda *_: None, Spread(group))
        object.__setattr__(group, "tell", lambda value: pytest.fail("an exchange for nothing"))
        return [training.is_due(CHECKPOINT_SECONDS - 1), training.is_due(CHECKPOINT_SECONDS + 1)]

    assert on_ranks(2, due) == [[False, True]] * 2


def test_rank_0_decides_what_the_clock_says() -> None:
    assert on_ranks(3, lambda group: Spread(group).agreed(group.rank == 0)) == [True] * 3
    assert on_ranks(3, lambda group: Spread(group).agreed(group.rank != 0)) == [False] * 3
