"""The covariate-shift meter: closed forms on a Gaussian, recording, and the verb on a real (tiny) run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import bench.shifting
from baselines.diffusion.cond import Cond
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.reflection import StaticBox
from baselines.distiller import Space
from baselines.generators import Ancestral, KarrasLadder, RenoisingSteps, dmd2_levels
from baselines.streams import numpy_generator
from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.lab import Lab
from bench.record import read_record, write_record
from bench.sampling import KeyedInputs
from bench.shift import (
    Forward,
    PointStates,
    Recorder,
    forward_states,
    shift_levels,
    state_distance,
    visited_states,
)
from bench.shift_report import read_shift, write_shift
from bench.suite import load_suite
from metrics.frechet import frechet_distance
from metrics.moments import Moments

MU, S, D, N = 0.3, 0.5, 2, 4000
GRID = KarrasGrid()


pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Gaussian:
    """Data ``N(MU, S^2 I)``, as an evaluator."""

    def labels(self, indices: range) -> Cond:
        return Cond()

    def anchor(self, name: str, count: int, seed: int) -> np.ndarray:
        return MU + S * numpy_generator(seed, "sample-noise", 1).standard_normal((count, D))


LAB: Any = SimpleNamespace(
    space=Space((D,)),
    evaluator=Gaussian(),
    device=torch.device("cpu"),
    inputs=KeyedInputs((D,), lambda seed, indices: Cond()),
)


def kappa(sigma: float) -> float:
    return S**2 / (S**2 + sigma**2)


@dataclass(frozen=True)
class Linear:
    """The exact denoiser of the Gaussian, plus a constant error."""

    bias: float = 0.0

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return MU + kappa(float(sigma)) * (x - MU) + self.bias


class BetweenGaussians:
    """Frechet distance of the states themselves, in data units."""

    def view(self, x: Tensor, sigma: float, cond: Cond) -> Moments:
        return Moments.of(x.numpy())

    def apart(self, a: Moments, b: Moments, seed: int) -> float:
        return frechet_distance(a, b)


def measure(make: Any, network: Any, steps: int = 4) -> list[Any]:
    visits: list[tuple[float, Tensor]] = []
    generator = make({steps: Recorder(network, visits)})
    states = partial(visited_states, generator, visits, LAB, count=N, steps=steps, batch=N)
    forward = Forward(LAB, BetweenGaussians(), N)
    return shift_levels(lambda seed: states(seed=seed), forward, range(5, 6))


def euler_law(sigmas: list[float]) -> list[tuple[float, float]]:
    """Mean and variance of the states under DDIM steps with the exact linear denoiser, from 80 noise."""
    laws = [(0.0, sigmas[0] ** 2)]
    for high, low in pairwise(sigmas):
        mean, var = laws[-1]
        step = low / high + (1 - low / high) * kappa(high)
        laws.append((MU + step * (mean - MU), step**2 * var))
    return laws


def renoising_law(sigmas: list[float]) -> list[tuple[float, float]]:
    laws = [(0.0, sigmas[0] ** 2)]
    for high, low in pairwise(sigmas):
        mean, var = laws[-1]
        laws.append((MU + kappa(high) * (mean - MU), kappa(high) ** 2 * var + low**2))
    return laws


def ancestral_law(sigmas: list[float]) -> list[tuple[float, float]]:
    laws = [(0.0, sigmas[0] ** 2)]
    for high, low in pairwise(sigmas):
        mean, var = laws[-1]
        r = (low / high) ** 2
        step = r + (1 - r) * kappa(high)
        laws.append((MU + step * (mean - MU), step**2 * var + low**2 * (1 - r)))
    return laws


SAMPLERS = {
    "euler": (lambda nets: KarrasLadder(nets, GRID), euler_law, GRID.nodes(4)[:-1].tolist()),
    "renoising": (
        lambda nets: RenoisingSteps(nets, partial(dmd2_levels, GRID)),
        renoising_law,
        dmd2_levels(GRID, 4),
    ),
    "ancestral": (lambda nets: Ancestral(nets, GRID), ancestral_law, GRID.nodes(4)[:-1].tolist()),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_meter_reads_the_closed_form(name: str) -> None:
    """Frechet distance between the Gaussian that the sampler visits and the forward one, level by level."""
    make, law, sigmas = SAMPLERS[name]
    levels = measure(make, Linear())
    assert [level.sigma for level in levels] == pytest.approx(sigmas[1:])
    for level, (mean, var) in zip(levels, law(sigmas)[1:], strict=True):
        forward = S**2 + level.sigma**2
        exact = D * ((mean - MU) ** 2 + (var**0.5 - forward**0.5) ** 2) / forward
        noise = 40 * D / N + 8 * (2 * exact / N) ** 0.5  # of moments from N draws on each side
        assert level.distance[0] / forward == pytest.approx(exact, abs=noise)
        assert level.floor[0] / forward < 40 * D / N


def test_the_reference_variances_of_a_four_step_ladder() -> None:
    """The law used above, against numbers derived by hand; the shift is largest at the last level."""
    laws = euler_law(GRID.nodes(4)[:-1].tolist())
    assert [var for _, var in laws[1:]] == pytest.approx([307.31, 6.3897, 0.06771], rel=1e-4)
    levels = measure(SAMPLERS["euler"][0], Linear())
    relative = [level.distance[0] / (S**2 + level.sigma**2) for level in levels]
    assert max(relative) == relative[-1] > 0.4


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_biased_student_scores_higher(name: str) -> None:
    make = SAMPLERS[name][0]
    right, biased = (measure(make, Linear(bias)) for bias in (0.0, 2.0))
    assert biased[-1].distance[0] > 2 * right[-1].distance[0] + 10 * right[-1].floor[0]


def test_visited_states_do_not_depend_on_the_batch_size() -> None:
    def states(batch: int) -> list[Any]:
        visits: list[tuple[float, Tensor]] = []
        generator = KarrasLadder({4: Recorder(Linear(), visits)}, GRID)
        return visited_states(generator, visits, LAB, seed=3, count=50, steps=4, batch=batch)

    whole, parts = states(50), states(7)
    assert len(whole) == len(parts) == 4
    for a, b in zip(whole, parts, strict=True):
        assert a.sigma == b.sigma and torch.allclose(a.x, b.x, atol=1e-6)
    assert float(whole[0].x.std()) == pytest.approx(80, rel=0.2)  # pure noise, which is not compared


def test_a_recorder_changes_nothing_and_sees_through_a_box() -> None:
    visits: list[tuple[float, Tensor]] = []
    boxed = StaticBox(0.1).wrap(Recorder(Linear(), visits))
    x = torch.linspace(-3, 3, 6).reshape(3, 2)
    assert torch.equal(boxed(x, 0.5), Linear()(x, 0.5).clamp(-0.1, 0.1))
    assert [sigma for sigma, _ in visits] == [0.5] and torch.equal(visits[0][1], x)


def test_a_recorder_refuses_several_levels_in_one_call() -> None:
    with pytest.raises(ValueError, match="several noise levels"):
        Recorder(Linear(), [])(torch.zeros(2, 2), torch.tensor([1.0, 2.0]))


def test_forward_states_have_the_variance_of_noised_data() -> None:
    lab = Lab.open(load_suite("gmm2d"))
    x = forward_states(lab, 2.0, count=4000, seed=1)
    data_var = 0.7**2 / 2 + 0.04**2  # a ring of radius 0.7
    assert x.var(0).tolist() == pytest.approx([4 + data_var] * 2, rel=0.1)
    assert not torch.equal(x, forward_states(lab, 2.0, count=4000, seed=2))


def test_point_states_are_scaled_to_what_a_network_sees() -> None:
    a, b = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(500, 2)
    cond, states = Cond(), PointStates(0.5)
    near, far = (
        states.apart(states.view(k * a, s, cond), states.view(k * b, s, cond), 0)
        for k, s in ((1.0, 0.0), (2.0, 0.75**0.5))
    )
    assert near == pytest.approx(far)


def test_the_teachers_view_tells_collapsed_digits_from_noised_ones() -> None:
    lab, count, sigma = Lab.open(load_suite("digits")), 100, 0.3
    cond, distance = lab.evaluator.labels(range(count)), state_distance(lab)
    view, floor = Forward(lab, distance, count).at(sigma, 1)
    other = forward_states(lab, sigma, count=count, seed=2)
    collapsed = distance.view(other.mean(0, keepdim=True).expand_as(other), sigma, cond)
    assert distance.apart(collapsed, view, 0) > 5 * floor
    mislabelled = distance.view(other.flip(0), sigma, cond)  # states of other labels
    assert distance.apart(mislabelled, view, 0) > floor


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run of PD, and its record as if published."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("shift")
    words = ["--suite", "gmm2d", "--smoke", "--method", "pd", "--nfe", "1,2,4", "--no-references"]
    assert main(["run", *words, "--out", str(folder / "runs")]) == 0
    for path in (folder / "runs").glob("*/*/record.json"):
        write_record(read_record(path), folder / "records" / "gmm2d" / "pd.json")
    return folder


def words_of(folder: Path, out: Path, records: Path | None = None) -> list[str]:
    budget = next(iter((folder / "records").rglob("*.json")))
    return [
        "shift", "--suite", "gmm2d", "--runs", str(folder / "runs"), "--out", str(out),
        "--records", str(records or folder / "records"), "--budget", read_record(budget).budget,
    ]  # fmt: skip


def test_the_verb_measures_published_multi_step_students(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.shifting.COUNTS, "points", 100)
    assert main(words_of(finished, tmp_path)) == 0
    report = read_shift(tmp_path / "gmm2d.json")
    assert report is not None and [row.steps for row in report.rows] == [2, 4]
    record = read_record(finished / "records" / "gmm2d" / "pd.json")
    shas = {row.steps: row.student_sha256 for row in record.rows}
    for row in report.rows:
        assert (row.cell, row.student_sha256) == (record.cell, shas[row.steps])
        assert len(row.levels) == row.steps - 1
        assert all(len(level.distance) == report.protocol.repeats for level in row.levels)
        assert min(row.distance) > 0 and len(row.floor) == report.protocol.repeats
    assert capsys.readouterr().out.count("measured progressive") == 2
    assert main(words_of(finished, tmp_path)) == 0  # nothing left to measure; rows are kept
    assert "measured" not in capsys.readouterr().out
    assert read_shift(tmp_path / "gmm2d.json") == report


def test_rows_of_students_that_are_no_longer_published_go(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.shifting.COUNTS, "points", 50)
    assert main(words_of(finished, tmp_path)) == 0
    (tmp_path / "records").mkdir()
    capsys.readouterr()
    assert main(words_of(finished, tmp_path, tmp_path / "records")) == BenchError("").status
    assert "no student of two or more steps that is published" in capsys.readouterr().err


def test_broken_reports_are_named(tmp_path: Path) -> None:
    assert read_shift(tmp_path / "none.json") is None
    path = tmp_path / "gmm2d.json"
    path.write_text("{")
    with pytest.raises(UsageError, match="not a readable shift report"):
        read_shift(path)
    path.write_text(json.dumps({"suite": "gmm2d"}))
    with pytest.raises(UsageError, match="key 'suite_version'"):
        read_shift(path)


def test_reports_are_read_back_as_written(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench.shifting.COUNTS, "points", 50)
    assert main(words_of(finished, tmp_path)) == 0
    report = read_shift(tmp_path / "gmm2d.json")
    assert report is not None
    write_shift(report, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "gmm2d.json").read_bytes()


def test_a_missing_folder_of_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, out = tmp_path / "nowhere", tmp_path / "shift"
    assert main(["shift", "--suite", "gmm2d", "--runs", str(missing), "--out", str(out)]) == 2
    assert f"--runs {missing}: no such folder" in capsys.readouterr().err
    assert not out.exists()
