"""Samplers that add noise, seeded noise and the published scalings, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import Gaussian

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import EDMScaling
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.posterior import posterior
from baselines.diffusion.samplers import Sampler, euler, heun
from baselines.diffusion.scalings import (
    IDDPMScaling,
    OpenAILabels,
    VEScaling,
    VPScaling,
    supported_levels,
)
from baselines.diffusion.seeds import SeededNoise
from baselines.diffusion.stochastic import DDIM, StochasticHeun
from baselines.streams import SampleNoise

SIGMAS = torch.tensor([0.03, 0.5, 7.0, 60.0], dtype=torch.float64)
GRID = KarrasGrid()
COUNT = 4000


class Fresh:
    """Noise of many samples at once."""

    def at(self, step: int) -> torch.Tensor:
        return torch.randn(COUNT, 1, generator=torch.Generator().manual_seed(step))


def starts(count: int) -> tuple[SampleNoise, torch.Tensor]:
    noise = SampleNoise(0, range(count), (1,))
    return noise, noise.initial() * 80


def test_without_noise_they_are_the_plain_solvers() -> None:
    noise, x = starts(5)
    net, levels = Gaussian(0.3, 0.5), GRID.solver(6)
    for noisy, plain in ((StochasticHeun(noise), heun), (DDIM(noise), euler)):
        torch.testing.assert_close(noisy(net, x, levels, None), plain(net, x, levels, None))


@pytest.mark.parametrize("kind", ["churn", "ancestral"])
def test_they_sample_the_data(kind: str) -> None:
    """Mean and spread of Gaussian data, many steps; noise was really added."""
    noise = Fresh()
    x, net, levels = noise.at(0) * 80, Gaussian(0.3, 0.5), GRID.solver(250)
    sampler: Sampler = StochasticHeun(noise, churn=30) if kind == "churn" else DDIM(noise, eta=1.0)
    out = sampler(net, x, levels, None)
    assert out.mean().item() == pytest.approx(0.3, abs=0.03)
    assert out.std().item() == pytest.approx(0.5, rel=0.035)
    correlation = torch.corrcoef(torch.cat([out, x], 1).T)[0, 1]
    assert correlation < 0.9


def test_full_ddim_noise_is_the_posterior() -> None:
    noise, x = starts(6)
    net, (upper, lower) = Gaussian(0.3, 0.5), torch.tensor([80.0, 3.0], dtype=torch.float64)
    out = DDIM(noise, eta=1.0)(net, x, torch.stack([upper, lower]), None)
    expected = posterior(x, net(x, 80.0), upper, lower, noise.at(1))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_churn_raises_levels_within_its_window() -> None:
    sampler = StochasticHeun(starts(1)[0], churn=4, lowest=0.05, highest=50)
    assert sampler.raised(1.0, 8) == pytest.approx(math.sqrt(2))
    assert sampler.raised(1.0, 20) == pytest.approx(1.2)
    assert sampler.raised(0.04, 8) == 0.04 and sampler.raised(51.0, 8) == 51.0


def test_seeds_do_not_depend_on_the_batch() -> None:
    together, alone = SeededNoise([5, 9], (2, 3), classes=10), SeededNoise([9], (2, 3), classes=10)
    for read in (lambda n: n.initial(), lambda n: n.labels, lambda n: n.at(1), lambda n: n.at(2)):
        assert torch.equal(read(together)[1:], read(alone))
    assert torch.equal(together.at(0), together.initial())
    assert torch.equal(SeededNoise([2**32 + 9], (2, 3)).initial(), alone.initial())


def test_labels_are_drawn_between_latent_and_first_step() -> None:
    generator = torch.Generator().manual_seed(7)
    latent, label = torch.randn(2, 3, generator=generator), torch.randint(10, (), generator=generator)
    step = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    noise = SeededNoise([7], (2, 3), classes=10)
    assert noise.labels.tolist() == [label]
    assert torch.equal(noise.initial()[0], latent) and torch.equal(noise.at(1)[0], step)
    assert noise.labels.tolist() == [label]


def test_seeded_noise_is_read_in_order() -> None:
    noise = SeededNoise([1], (2,))
    with pytest.raises(ValueError, match="step 1 was asked for, the latent is next"):
        noise.at(1)
    noise.initial()
    noise.at(1)
    with pytest.raises(ValueError, match="unconditional set draws no labels"):
        _ = noise.labels
    with pytest.raises(ValueError, match="step 3 was asked for, step 2 is next"):
        noise.at(3)


@pytest.mark.parametrize(
    "scaling", [VPScaling(), IDDPMScaling(), VEScaling()], ids=lambda s: type(s).__name__
)
def test_noise_predictors_recover_clean_data(scaling: VPScaling | IDDPMScaling | VEScaling) -> None:
    """The right raw output gives x0 back; c_in keeps unit data near unit size (VE leaves x as it is)."""
    x0, noise = torch.full_like(SIGMAS, 0.4), torch.full_like(SIGMAS, 1.3)
    x = x0 + SIGMAS * noise
    raw = -noise if isinstance(scaling, VEScaling) else noise
    torch.testing.assert_close(scaling.c_skip(SIGMAS) * x + scaling.c_out(SIGMAS) * raw, x0)
    size = scaling.c_in(SIGMAS) * (1 + SIGMAS**2).sqrt()
    assert isinstance(scaling, VEScaling) or torch.allclose(size, torch.ones_like(size))


def test_time_of_vp() -> None:
    scaling = VPScaling()
    torch.testing.assert_close(scaling.sigma(scaling.time(SIGMAS)), SIGMAS)
    assert scaling.sigma_max == pytest.approx(152.1676, abs=1e-3)
    torch.testing.assert_close(scaling.c_noise(SIGMAS), 999 * scaling.time(SIGMAS))


def test_levels_of_improved_ddpm() -> None:
    """The cosine schedule: 1 / (1 + sigma^2) is the product of the ratios."""
    scaling = IDDPMScaling()
    levels = scaling.levels
    assert len(levels) == 1001 and levels[-1] == 0 and (levels.diff() < 0).all()
    # below the clamp alpha-bar is sin^2 of an even angle, up to the factor of its last value
    angle = 0.5 * math.pi * torch.tensor([500.0, 1000.0], dtype=torch.float64) / 1000 / 1.008
    alpha_bar = angle.sin() ** 2
    expected = (alpha_bar[1] / alpha_bar[0] - 1).sqrt()
    assert levels[500].item() == pytest.approx(expected.item(), rel=1e-3)
    middle = (levels[500] + 0.1 * (levels[499] - levels[500])).reshape(1)
    assert scaling.nearest(middle).item() == levels[500].item()
    assert scaling.c_noise(middle).item() == 999 - 500
    assert (scaling.sigma_min, scaling.sigma_max) == (levels[999].item(), levels[0].item())


def test_supported_levels() -> None:
    assert torch.equal(supported_levels(EDMScaling(), GRID, 7), GRID.solver(7))
    narrow = supported_levels(VEScaling(), GRID, 7)
    assert (narrow[0].item(), narrow[-2].item(), narrow[-1].item()) == (80.0, 0.02, 0.0)
    scaling = IDDPMScaling()
    found = supported_levels(scaling, GRID, 7)
    assert found[-1] == 0 and torch.isin(found.float(), scaling.levels).all()
    narrow = KarrasGrid(scaling.sigma_min, 80.0).solver(7)
    torch.testing.assert_close(found, narrow, rtol=0.05, atol=0)


def test_labels_of_openai() -> None:
    inner = EDMScaling()
    scaling = OpenAILabels(inner)
    torch.testing.assert_close(scaling.c_noise(SIGMAS), 250 * SIGMAS.log())
    for name in ("c_skip", "c_out", "c_in"):
        assert torch.equal(getattr(scaling, name)(SIGMAS), getattr(inner, name)(SIGMAS))


def test_augmentation_labels_travel_with_the_condition() -> None:
    cond = Cond(label=torch.tensor([1, 2]), augment=torch.eye(2))
    assert torch.equal(cond[1:].augment, torch.eye(2)[1:])
    assert torch.equal(Cond.join([cond[:1], cond[1:]]).augment, torch.eye(2))
    assert torch.equal(cond.null().augment, torch.eye(2))
