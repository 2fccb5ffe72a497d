"""Noise grid, averages, scalings, conditions and samplers, against closed forms."""

from __future__ import annotations

import itertools
import math
from copy import deepcopy

import pytest
import torch
from oracles import Gaussian, Spy, rig
from torch import Tensor, nn

from baselines.diffusion.cond import NULL_LABEL, Cond
from baselines.diffusion.denoiser import BoundaryScaling, Denoiser, EDMScaling, per_sample
from baselines.diffusion.ema import EMALaw, ema_update
from baselines.diffusion.noise import KarrasGrid, edm_weight, lognormal_sigma
from baselines.diffusion.samplers import SOLVERS, solver_nfe
from baselines.generators import ODESolver, serve
from baselines.streams import SampleNoise, torch_generator

SIGMAS = torch.tensor([0.002, 0.1, 0.5, 2.5, 80.0], dtype=torch.float64)


def test_karras_grid_values() -> None:
    times = torch.tensor([0.2, 0.4, 0.5, 0.6, 0.8, 1.0])
    found = KarrasGrid()(1 - times.double())
    expected = torch.tensor([0.0851, 0.965, 2.515, 5.839, 24.408, 80.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=6e-4, atol=0)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("intervals", [1, 2, 17, 64])
def test_karras_nodes(intervals: int) -> None:
    nodes = KarrasGrid().nodes(intervals)
    assert len(nodes) == intervals + 1 and nodes[0] == 80.0 and nodes[-1] == 0.002
    assert bool((nodes.diff() < 0).all())
    roots = nodes ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(intervals), rtol=1e-9, atol=0)


def test_solver_levels_end_at_zero() -> None:
    assert KarrasGrid().solver(1).tolist() == [80.0, 0.0]
    levels = KarrasGrid().solver(18)
    assert len(levels) == 19 and levels[-1] == 0 and torch.equal(levels[:-1], KarrasGrid().nodes(17))


def test_ema_law_follows_edm() -> None:
    assert EMALaw().decay(256, 0) == 0.0
    for batch, half_life, plateau in ((256, 5e5, 0.999645), (512, 5e5, 0.999290), (8192, 2e6, 0.997165)):
        law = EMALaw(half_life)
        assert law.decay(batch, 10**9) == pytest.approx(plateau, abs=6e-7)
        end_of_ramp = int(half_life / 0.05)
        assert law.decay(batch, end_of_ramp) == law.decay(batch, 10**9)
        assert law.decay(batch, end_of_ramp // 2) == pytest.approx(plateau**2, abs=2e-6)
    assert EMALaw(1000, ramp=None).decay(1000, 0) == 0.5
    assert EMALaw(0).decay(64, 10**6) == 0.0


def test_ema_update_copies_first_then_averages() -> None:
    live = nn.BatchNorm1d(2)
    average = deepcopy(live)
    live.weight.data, live.running_mean = torch.tensor([3.0, 5.0]), torch.tensor([7.0, 7.0])
    ema_update(average, live, EMALaw().decay(64, 0))
    assert torch.equal(average.weight, live.weight) and torch.equal(average.running_mean, live.running_mean)
    live.weight.data = torch.tensor([1.0, 1.0])
    ema_update(average, live, 0.75)
    torch.testing.assert_close(average.weight.detach(), torch.tensor([2.5, 4.0]))
    assert torch.equal(live.weight, torch.tensor([1.0, 1.0]))


def test_edm_scaling_identities() -> None:
    """Unit variance in and out, c_skip minimises c_out, the weight is 1 / c_out^2."""
    for data in (0.5, 1.3):
        scaling = EDMScaling(data)
        c_skip, c_out, c_in = scaling.c_skip(SIGMAS), scaling.c_out(SIGMAS), scaling.c_in(SIGMAS)
        torch.testing.assert_close(c_in**2 * (SIGMAS**2 + data**2), torch.ones_like(SIGMAS))
        target_variance = ((1 - c_skip) ** 2 * data**2 + c_skip**2 * SIGMAS**2) / c_out**2
        torch.testing.assert_close(target_variance, torch.ones_like(SIGMAS))
        torch.testing.assert_close(edm_weight(SIGMAS, data) * c_out**2, torch.ones_like(SIGMAS))
    torch.testing.assert_close(EDMScaling().c_noise(SIGMAS), SIGMAS.log() / 4)


def test_boundary_scaling_is_the_identity_at_sigma_min_and_edm_far_from_it() -> None:
    scaling, edm = BoundaryScaling(0.5), EDMScaling(0.5)
    lowest = torch.tensor([0.002], dtype=torch.float64)
    assert scaling.c_skip(lowest).item() == 1.0 and scaling.c_out(lowest).item() == 0.0
    assert torch.equal(scaling.c_in(SIGMAS), edm.c_in(SIGMAS))
    assert torch.equal(scaling.c_noise(SIGMAS), edm.c_noise(SIGMAS))
    from_zero = BoundaryScaling(0.5, sigma_min=0.0)
    torch.testing.assert_close(from_zero.c_skip(SIGMAS), edm.c_skip(SIGMAS))
    torch.testing.assert_close(from_zero.c_out(SIGMAS), edm.c_out(SIGMAS))
    torch.testing.assert_close(scaling.c_out(SIGMAS) / edm.c_out(SIGMAS), (SIGMAS - 0.002) / SIGMAS)


class Echo(nn.Module):
    """Raw network that shows what it was given."""

    def forward(self, x: Tensor, noise_label: Tensor, label: Tensor | None) -> Tensor:
        return x + noise_label[:, None] + (0 if label is None else label[:, None])


def test_denoiser_preconditions_and_assembles() -> None:
    denoiser = Denoiser(Echo(), EDMScaling(0.5))
    x, cond = torch.tensor([[1.0], [2.0]], dtype=torch.float64), Cond(label=torch.tensor([3, 4]))
    sigma = torch.tensor([1.5, 2.5], dtype=torch.float64)
    raw = x / (sigma**2 + 0.25).sqrt()[:, None] + sigma.log()[:, None] / 4 + torch.tensor([[3], [4]])
    torch.testing.assert_close(denoiser.raw(x, sigma, cond), raw)
    skip, out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25).sqrt()
    torch.testing.assert_close(denoiser(x, sigma, cond), skip[:, None] * x + out[:, None] * raw)
    assert torch.equal(denoiser(x[:1], 1.5, cond[:1]), denoiser(x, sigma, cond)[:1])


def test_per_sample_keeps_double_precision_of_floats() -> None:
    x = torch.zeros(3, 2, 2, dtype=torch.float64)
    assert per_sample(0.1, x).shape == (3, 1, 1)
    assert per_sample(0.1, x)[0].item() == 0.1
    assert per_sample(torch.arange(3), x).flatten().tolist() == [0, 1, 2]


def test_cond_indexes_joins_and_nulls() -> None:
    cond = Cond(label=torch.tensor([5, 6, 7]), text=torch.ones(3, 2, 4), w=torch.tensor([0.0, 1.0, 2.0]))
    part = cond[torch.tensor([2, 0])]
    assert part.label.tolist() == [7, 5] and part.w.tolist() == [2.0, 0.0] and part.text.shape == (2, 2, 4)
    joined = Cond.join([cond[:1], cond[1:]])
    assert all(torch.equal(getattr(joined, f), getattr(cond, f)) for f in ("label", "text", "w"))
    null = cond.null(Cond(text=torch.full((1, 2, 4), 0.5)))
    assert null.label.tolist() == [NULL_LABEL] * 3 and torch.equal(null.w, cond.w)
    assert (null.text == 0.5).all()
    with pytest.raises(ValueError, match="give the encoded empty prompt"):
        cond.null()
    assert set(cond.asked()) == {"text", "w"} and not Cond(label=cond.label).asked()
    assert cond.label.tolist() == [5, 6, 7]
    assert Cond()[:2] == Cond() == Cond.join([Cond(), Cond()]) == Cond().null()
    with pytest.raises(ValueError, match="label is missing in 1 parts"):
        Cond.join([cond, Cond()])


def ends(solver: str, sigmas: Tensor, std: float = 0.5) -> float:
    """What a sampler multiplies x - mean by, on data N(mean, std^2)."""
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    low, high = SOLVERS[solver](Gaussian(0.3, std).requires_grad_(False), x, sigmas, None).flatten().tolist()
    return (high - low) / 2


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_samplers_converge_at_their_order(solver: str, order: int) -> None:
    exact = math.sqrt((0.25 + 0.002**2) / (0.25 + 80**2))
    errors = [abs(ends(solver, KarrasGrid().nodes(steps)) / exact - 1) for steps in (128, 256, 512)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.12)


def test_heun_reference_numbers() -> None:
    """Spread of Heun's samples over the exact flow from 80 to 0."""
    exact = 0.5 / math.sqrt(0.25 + 80**2)
    for steps, ratio in ((18, 1.055270), (40, 1.009773), (256, 1.0002104)):
        assert ends("heun", KarrasGrid().solver(steps)) / exact == pytest.approx(ratio, abs=6e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_samplers_are_exact_on_a_point(solver: str) -> None:
    """Data concentrated in one point: every solver lands on it."""
    point = Gaussian(0.3, 0.0)
    x = SOLVERS[solver](point, torch.tensor([[80.0]], dtype=torch.float64), KarrasGrid().solver(5), None)
    assert x.item() == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_counted_evaluations(solver: str) -> None:
    made = rig(Gaussian(0.3, 0.5))
    noise = SampleNoise(0, range(3), (1,))
    for steps in (1, 2, 5):
        nfe = solver_nfe(solver, steps)
        before = made.meter.by_role("forwards").get("teacher", 0)
        generator = ODESolver(made.teacher.net, KarrasGrid(), solver, SOLVERS[solver])
        generator.sample(noise, Cond(), nfe)
        assert made.meter.by_role("forwards")["teacher"] - before == 3 * nfe


def test_heun_cannot_spend_an_even_number() -> None:
    generator = ODESolver(Gaussian(0.0, 0.5), KarrasGrid(), "heun", SOLVERS["heun"])
    with pytest.raises(ValueError, match="exactly 4 evaluations"):
        generator.sample(SampleNoise(0, [0], (1,)), Cond(), 4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_samplers_show_the_network_the_callers_precision(solver: str) -> None:
    spy, cond = Spy(Gaussian(0.3, 0.5)), Cond(label=torch.tensor([1]))
    out = SOLVERS[solver](spy, torch.full((1, 1), 80.0), KarrasGrid().solver(3), cond)
    assert out.dtype == torch.float32 and {x.dtype for x in spy.xs} == {torch.float32}
    assert all(seen is cond for seen in spy.conds)
    asked = KarrasGrid().solver(3)[:-1].tolist()
    assert sorted({s.item() for s in spy.sigmas}) == pytest.approx(sorted(asked), rel=1e-6)


def test_serve_names_what_is_served() -> None:
    with pytest.raises(ValueError, match="no student serves 3 steps; served: 1, 4"):
        serve({4: None, 1: None}, 3)


def test_lognormal_law() -> None:
    draws = lognormal_sigma(20_000, torch_generator(0, "train-noise"), -1.2, 1.2).log()
    assert draws.mean().item() == pytest.approx(-1.2, abs=0.03)
    assert draws.std().item() == pytest.approx(1.2, abs=0.03)
