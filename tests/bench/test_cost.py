"""Cost before a run: FLOPs without weights, sourced peaks, a short calibration, plans without files."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from baselines.distiller import Space
from bench.cell import Cell
from bench.cli import main
from bench.cost import calibration
from bench.cost.calibration import Calibration, calibrate, random_network, units_per_second
from bench.cost.estimate import Estimate, batch_sizes, estimates
from bench.cost.gpus import gpu_table
from bench.cost.measured import prediction_error
from bench.cost.reference import blank_cond, reference_of
from bench.cost.words import clock, hours, span
from bench.errors import UsageError
from bench.events import EVENTS, Events
from bench.lab import Lab
from bench.request import Request, resolve
from bench.suite import load_suite

CPU = torch.device("cpu")
DAY = 86_400


@pytest.fixture(scope="module")
def adm():
    """The reference of ImageNet-64: a network that no test could build with values."""
    return reference_of(load_suite("imagenet64"))


# --------------------------------------------------------------------------- FLOPs, parameters, memory


@pytest.mark.parametrize("name", ["gmm2d", "digits"])
def test_the_reference_is_the_labs_without_its_weights(name, monkeypatch):
    lab = Lab.open(load_suite(name))
    monkeypatch.setattr("bench.models.load_teacher", lambda *_: pytest.fail("weights were read"))
    found = reference_of(load_suite(name))
    assert found.flops == lab.reference_flops
    assert found.parameters == sum(p.numel() for p in lab.net.parameters())
    assert found.weight_bytes == 4 * found.parameters and not found.half


def test_what_a_backward_keeps_is_counted_per_sample():
    suite = load_suite("digits")
    found, net, space = (
        reference_of(suite),
        random_network(suite, CPU).requires_grad_(True),
        Space((1, 8, 8), 10),
    )

    def kept(count: int) -> int:
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(torch.zeros(count, *space.shape), 1.0, blank_cond(space, count, CPU)).sum()
        return sum(size for size, _ in sizes.values())

    assert found.saved_bytes == pytest.approx((kept(9) - kept(1)) / 8, rel=0.02)


def test_the_published_network_is_counted_as_it_is_published(adm):
    assert adm.parameters == 295_899_267  # 296 M in its paper
    assert 215e9 < adm.flops < 225e9 and adm.half  # twice the 110 G multiply-adds of ADM at 64 x 64
    assert 200e6 < adm.saved_bytes < 300e6  # 484 MB with the weights of all pairs, which nothing keeps


def test_the_assumed_share_of_the_peak_is_that_of_the_published_trainings(adm):
    """EDM: 2,500 Mimg on 32 A100 in 13 days, 200 Mimg on 8 V100 in 2 days; three forwards an image."""
    table = gpu_table()
    half = 3 * 2500e6 * adm.flops / (32 * 13 * DAY) / table.find("a100").peak(True)
    assert table.utilisation.half == pytest.approx(half, abs=0.01)
    small = reference_of(load_suite("cifar10"))
    fp32 = 3 * 200e6 * small.flops / (8 * 2 * DAY) / table.find("v100").peak(False)
    assert fp32 > 1 and table.utilisation.fp32 == 1


# --------------------------------------------------------------------------- named GPUs


def test_hours_are_flops_over_the_share_of_the_peak():
    table = gpu_table()
    assert table.hours("a100", 312e12 * 0.15 * 3600, half=True) == pytest.approx(1)
    assert table.hours("A100", 19.5e12 * 3600, half=False) == pytest.approx(1)
    assert table.hours("h100", 1e20, half=True) < table.hours("h100", 1e20, half=False)


def test_peaks_are_dense_and_have_a_source():
    gpus = gpu_table().gpus
    assert list(gpus) == ["v100", "a100", "h100", "h200", "b200"]
    assert all("datasheet" in one.source for one in gpus.values())
    for one in gpus.values():
        if sparse := re.search(r"\(([\d,]+) with sparsity\)", one.source):
            assert one.half == float(sparse[1].replace(",", "")) / 2
    assert sorted(gpus, key=lambda name: gpus[name].half) == list(gpus)


def test_an_unknown_gpu_is_named(capsys):
    with pytest.raises(UsageError, match="--gpu: unknown GPU 'h10'; did you mean 'h100'"):
        gpu_table().find("h10")
    assert main(["plan", "--suite", "gmm2d", "--gpu", "h10"]) == 2
    assert "did you mean" in capsys.readouterr().err


# --------------------------------------------------------------------------- calibration


class Clock:
    """Time that passes only while the fake network works."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(calibration.time, "perf_counter", lambda: self.now)


class Net:
    """A network that takes 10 ms for a sample and 20 ms for a call, and holds ``fits`` samples."""

    def __init__(self, clock, fits=10**9):
        self.clock, self.fits, self.batches = clock, fits, []

    def __call__(self, x, sigma, cond):
        self.batches.append(len(x))
        if len(x) > self.fits:
            raise torch.OutOfMemoryError
        self.clock.now += 0.02 + 0.01 * len(x)


def test_speed_is_samples_over_the_time_they_took(monkeypatch):
    net = Net(Clock(monkeypatch))
    assert units_per_second(net, Space((2,)), 8, 0.5, CPU) == pytest.approx(80)
    assert net.clock.now < 0.7 and len(net.batches) > 2
    slow = Net(Clock(monkeypatch))
    assert units_per_second(slow, Space((2,)), 98, 0.5, CPU) == pytest.approx(98)
    assert slow.batches == [98, 98]  # a warm-up, and one call whatever it takes


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    net = Net(Clock(monkeypatch), fits=4)
    assert units_per_second(net, Space((2,)), 16, 0.5, CPU) == pytest.approx(4 / 0.06)
    assert net.batches[:3] == [16, 8, 4]
    with pytest.raises(torch.OutOfMemoryError):
        units_per_second(Net(Clock(monkeypatch), fits=0), Space((2,)), 2, 0.5, CPU)


def test_calls_are_kept_short_and_every_size_gets_a_speed(monkeypatch):
    net = Net(Clock(monkeypatch))
    found = calibrate(lambda: net, Space((2,)), int(calibration.CPU_CALL / 10), {4, 500}, CPU)
    assert max(net.batches) == 10 and set(found.speeds) == {4, 500}
    assert found.speeds[500] == pytest.approx(10 / 0.12)
    assert found.seconds(1000, 4) == pytest.approx(1000 / found.speeds[4])
    assert found.how == "timed forwards of the reference network" and "cpu" in found.device


def test_a_network_too_large_for_the_cpu_is_not_run(monkeypatch):
    monkeypatch.setattr(calibration, "product_rate", lambda: 1e11)
    flops = int(calibration.CPU_CALL) + 1
    found = calibrate(lambda: pytest.fail("it was built"), Space((2,)), flops, {1, 256}, CPU)
    assert found.speeds == {1: 1e11 / flops, 256: 1e11 / flops}
    assert "matrix product at 100 GFLOP/s" in found.how


def test_a_matrix_product_gives_a_plausible_rate(monkeypatch):
    monkeypatch.setattr(calibration, "CPU_SECONDS", 0.05)
    assert 1e8 < calibration.product_rate() < 1e14


def test_random_weights_are_finite_and_the_same_each_time():
    one, two = (random_network(load_suite("digits"), CPU) for _ in range(2))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q) and p.abs().max() <= 0.05 and not p.requires_grad


# --------------------------------------------------------------------------- cells


def test_work_of_cells_is_that_of_their_budget_and_protocol():
    suite, cells, _ = resolve(Request("gmm2d", methods=("sid", "progressive"), seeds=2))
    lines = {(line.cell.label, line.cell.seed): line for line in estimates(cells)}
    protocol, budget = suite.protocol, suite.budgets["standard"].work
    rows = protocol.samples * protocol.repeats
    assert lines["sid", 1].train_units == budget
    assert lines["sid", 0].sample_units == rows + 8 * protocol.curve_samples
    assert lines["progressive", 0].sample_units == 15 * (rows + 8 * protocol.curve_samples)
    assert (lines["real", 0].units, lines["euler", 0].train_units) == (0, 0)
    assert lines["euler", 0].sample_units == 15 * rows  # no curve
    assert batch_sizes(list(lines.values())) == {512, 256, protocol.batch}


def test_a_published_student_costs_its_samples_only():
    _, cells, _ = resolve(Request("imagenet64", methods=("sid[weights=published]",), references=False))
    (line,) = estimates(cells)
    assert (line.train_units, line.sample_units) == (0, 150_000)


def test_seconds_are_per_batch_size_and_end_with_the_budget():
    speed = Calibration("x", {2: 10.0, 5: 100.0}, "")
    cell = Cell(None, "m", "student", (1,), "quick", None, 0)  # type: ignore[arg-type]
    line = Estimate(cell, 1000, 1000, 2, 5, None)
    assert line.seconds(speed) == 100 + 10
    assert Estimate(cell, 1000, 1000, 2, 5, 30.0).seconds(speed) == 30 + 10
    assert Estimate(cell, 0, 1000, 7, 5, None).seconds(speed) == 10  # nothing is trained: 7 is not asked for


def test_memory_grows_with_the_batch_of_a_training(adm):
    cell = SimpleNamespace()
    small, large, none = (
        Estimate(cell, units, 1, batch, 1, None) for units, batch in ((1, 1), (1, 256), (0, 256))
    )  # type: ignore[arg-type]
    assert none.bytes(adm) == adm.weight_bytes < small.bytes(adm)
    assert large.bytes(adm) - small.bytes(adm) == pytest.approx(3 * 255 * adm.saved_bytes)


# --------------------------------------------------------------------------- the verb


@pytest.fixture
def plan(capsys, monkeypatch, tmp_path):
    """Run ``bench plan`` in an empty cache, with a machine of 100 GFLOP/s."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(calibration, "product_rate", lambda: 1e11)
    monkeypatch.setattr(calibration, "CPU_SECONDS", 0.01)

    def run(*arguments):
        status = main(["plan", *arguments])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "")
        return out.splitlines()

    return run


def last_number(line: str) -> float:
    return float(line.split()[-1].replace(",", ""))


def test_a_plan_needs_no_files(plan, adm):
    lines = plan("--suite", "imagenet64", "--gpu", "H100", "--method", "sid", "--nfe", "1")
    assert sum(line.startswith("asset ") and ": missing, " in line for line in lines) >= 5
    (missing,) = [line for line in lines if line.startswith("missing: ")]
    assert "bench prepare --suite imagenet64" in missing
    assert any(
        line.startswith("work unit: one forward") and "219 GFLOP; 296 M parameters" in line for line in lines
    )
    (sid,) = [line for line in lines if line.startswith("sid ")]
    units = 100e6 + 150_000 + 8 * 5000
    hours_on_h100 = units * adm.flops / (989.5e12 * 0.15) / 3600
    assert last_number(sid) == pytest.approx(0.7 * hours_on_h100, rel=0.02)  # kWh at 700 W
    assert "GiB" in sid and "years" in sid  # a CPU of 100 GFLOP/s
    (total,) = [line for line in lines if line.startswith("all: about")]
    first = next(i for i, line in enumerate(lines) if line.startswith("cell ")) + 1
    cells = [line for line in lines[first : lines.index(total)] if not line.startswith("real")]
    found, energy = map(float, re.search(r"([\d.,]+) H100-hours and at most ([\d.,]+) kWh", total).groups())
    assert energy == pytest.approx(sum(map(last_number, cells)), rel=0.03)
    assert energy == pytest.approx(0.7 * found, rel=0.01)  # 700 W at most
    assert "matrix product at 100 GFLOP/s" in total


def test_a_plan_shows_budgets_in_gpu_hours_and_calls_them_estimates(plan, adm):
    lines = plan("--suite", "imagenet64", "--method", "sid")
    at = next(i for i, line in enumerate(lines) if line.startswith("GPU-hours, an estimate: FLOPs over 15%"))
    assert "1 training, standard" in lines[at + 1]
    names = [line.split()[0] for line in lines[at + 2 : at + 7]]
    assert names == ["V100", "A100", "H100", "H200", "B200"]
    a100 = lines[at + 3]
    full = [float(x.replace(",", "")) for x in a100.split("312 bf16")[1].split("NVIDIA")[0].split()]
    standard = 100e6 * adm.flops / (312e12 * 0.15) / 3600
    assert full[1] == pytest.approx(0.4 * full[0], rel=0.01)  # 400 W at most
    assert full[2:] == pytest.approx([standard / 20, standard, standard * 10], rel=0.01)
    assert lines[at + 7].startswith("not counted: ")


def test_a_small_network_has_no_gpu_table_unless_asked(plan):
    lines = plan("--suite", "gmm2d", "--method", "sid", "--nfe", "1")
    assert any("too small to fill one" in line for line in lines)
    assert not any("datasheet" in line for line in lines) and not any("missing" in line for line in lines)
    assert any("V100 SXM2" in line for line in plan("--suite", "gmm2d", "--method", "sid", "--gpu", "v100"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "0:05"), (3661, "1:01:01"), (99 * 3600, "99:00:00"), (100 * 3600, "4.17 days"), (4e8, "12.7 years")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_spans_and_hours():
    assert (span(90), span(DAY * 1.5), span(DAY * 40)) == ("1.5 min", "36 h", "40 days")
    assert (hours(0.001), hours(0.25), hours(41.06), hours(1302.4)) == ("< 0.01", "0.25", "41.1", "1,302")
    assert math.isclose(float(hours(12.34)), 12.3)


# --------------------------------------------------------------------------- predicted and measured


def log(runs: Path, cell: Cell, seconds: float, *kinds: str, status: str = "ok") -> None:
    """The log of a cell that took so long, after events of some kinds."""
    events = Events(runs / cell.suite.id / cell.id / EVENTS)
    for kind in kinds:
        events.write("stage", stage=kind)
    events.write("finished", status=status, seconds=seconds)


def test_the_prediction_error_is_that_of_cells_finished_in_one_go(tmp_path):
    _, cells, _ = resolve(Request("gmm2d", ("sid",), "quick", seeds=4, references=False))
    predicted = {cell.id: 10.0 for cell in cells}
    assert prediction_error(tmp_path, cells, predicted) is None
    log(tmp_path, cells[0], 12.0, "distil", "sample")
    log(tmp_path, cells[1], 9.0, "distil", "sample")
    log(tmp_path, cells[2], 1.0, "distil", "distil", "sample")  # the end of a training
    log(tmp_path, cells[3], 1.0, "distil", status="failed")
    said = prediction_error(tmp_path, cells, predicted)
    assert said == "predicted 0:20, took 0:21 (+5%; finished cells: 2, each -10% to +20%)"
    assert prediction_error(tmp_path, cells, {cells[1].id: 10.0}).endswith("cells: 1, each -10% to -10%)")
    assert prediction_error(tmp_path, cells, {cells[2].id: 10.0}) is None


def test_a_plan_shows_what_finished_cells_took(plan, tmp_path):
    asked = ("--suite", "gmm2d", "--method", "sid", "--budget", "quick", "--out", str(tmp_path / "runs"))
    assert f"in {tmp_path / 'runs'}: none of these cells is finished" in plan(*asked)
    _, cells, _ = resolve(Request("gmm2d", ("sid",), "quick"))
    sid = next(cell for cell in cells if cell.label == "sid")
    log(tmp_path / "runs", sid, 3600.0, "distil")
    (line,) = [line for line in plan(*asked) if line.startswith(f"in {tmp_path / 'runs'}: predicted ")]
    assert "took 1:00:00 (+" in line and "finished cells: 1, " in line
