"""Matching and adversary together (DMD2), on Gaussians: at rest where the laws agree, and on small images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from gaussian_methods import BINS, many_normals
from oracles import FixedLaw, Gaussian, Push, ScriptedDraws, hermite_pair, normal_quantiles
from torch import Tensor

from baselines import discriminator, distribution_matching, losses
from baselines.critics import Critic
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import per_sample
from baselines.discriminator import GAN
from baselines.distiller import Batch
from baselines.distribution_matching import DistributionMatching
from baselines.fake_score import FakeScore

REAL, GENERATOR_WEIGHT, CRITIC_WEIGHT = (0.3, 0.5), 0.5, 1e-2


class WithLevel(Gaussian):
    """A Gaussian denoiser whose encoder hands on the noisy sample and its level."""

    def features(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return torch.stack([x, per_sample(sigma, x).expand_as(x)])


class BestLogit:
    """``log p_real - log p_fake`` of noisy samples, summed over pixels; its parameters are constants."""

    def __init__(self, fake: tuple[float, float]) -> None:
        self.fake = fake

    def log_density(self, x: Tensor, sigma: Tensor, law: tuple[float, float]) -> Tensor:
        variance = law[1] ** 2 + sigma**2
        return (-((x - law[0]) ** 2) / (2 * variance) - variance.log() / 2).flatten(1).sum(1)

    def __call__(self, features: Tensor) -> Tensor:
        x, sigma = features
        return self.log_density(x, sigma, REAL) - self.log_density(x, sigma, self.fake)


def critic_of(mean: float, std: float, sigma: float) -> Critic:
    """The ideal critic of a generator N(mean, std^2) at one noise level: exact fake score, best logit."""
    fake, law = WithLevel(mean, std).requires_grad_(False), FixedLaw([sigma])
    gan = GAN(fake, BestLogit((mean, std)), law, GENERATOR_WEIGHT, CRITIC_WEIGHT)  # type: ignore[arg-type]
    matching = DistributionMatching(Gaussian(*REAL).requires_grad_(False), fake, law)  # type: ignore[arg-type]
    return Critic(FakeScore(fake, law), matching, gan)  # type: ignore[arg-type]


def generator_gradient(mean: float, std: float, sigma: float) -> Tensor:
    """Gradient of the whole generator loss in (mean, std), on nodes of (z, noise)."""
    z, noise = hermite_pair()
    student = Push(mean, std)
    loss = critic_of(mean, std, sigma).generator_loss(
        student(z, 1.0), Cond(), ScriptedDraws([noise, noise.flip(0)])
    )
    return torch.stack(torch.autograd.grad(loss, [student.mean, student.std]))


# properties: each raises AssertionError when the method is wrong


def check_rest_at_the_data() -> None:
    """Equal laws: no gradient of either term, and the critic's loss is 1 a pixel plus its share of 2 ln 2."""
    for sigma in (0.05, 0.4, 3.0):
        assert generator_gradient(*REAL, sigma).abs().max() < 1e-12
        away = generator_gradient(REAL[0] - 0.3, 0.2, sigma)
        assert bool((away < 0).all()), away  # descent raises mean and std
        z, noise = hermite_pair()
        x_g = Push(*REAL)(z, 1.0)
        real = Batch(Cond(), len(z), x_g.detach())
        draws = ScriptedDraws([noise, torch.cat([noise, noise.flip(0)])])
        loss = critic_of(*REAL, sigma).critic_loss(x_g, Cond(), real, draws)
        assert loss.item() == pytest.approx(1 + CRITIC_WEIGHT * 2 * math.log(2), rel=1e-12)


def check_adversary_follows_a_divergence() -> None:
    """Against the best logit the generator's gradient is that of ``KL(fake||real) - 2 JS``."""
    for mean, std in ((0.2, 0.5), (0.4, 0.35), (-0.1, 0.9)):
        state = torch.tensor([mean, std], dtype=torch.float64, requires_grad=True)
        x, step = torch.linspace(-9, 9, 6001, dtype=torch.float64), 0.003

        def density(m: Any, s: Any, x: Tensor = x) -> Tensor:
            return (-((x - m) ** 2) / (2 * s**2)).exp() / (math.sqrt(2 * math.pi) * s)

        fake, real = density(state[0], state[1]), density(*REAL)
        mixture = (fake + real) / 2

        def divergence(p: Tensor, q: Tensor, step: float = step) -> Tensor:
            return (p * (p.clamp(min=1e-300).log() - q.clamp(min=1e-300).log())).sum() * step

        js = (divergence(fake, mixture) + divergence(real, mixture)) / 2
        (expected,) = torch.autograd.grad(divergence(fake, real) - 2 * js, [state])

        nodes = normal_quantiles(4000)[:, None]
        sample = state[0] + state[1] * nodes
        logit = BestLogit((mean, std))
        none = torch.zeros_like(sample)
        loss = losses.gan_generator_loss(logit(torch.stack([sample, none]))).mean()
        (found,) = torch.autograd.grad(loss, [state])
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-4)


def small_images(side: int) -> tuple[float, Tensor]:
    """Matching loss and gradient in (mu, tau), per pixel, on images of one channel over all 961 bins."""
    count = 2**13
    points = many_normals(13, 2 * side**2 + 1)
    z, noise = points[:, :-1].reshape(count, 2, side, side).unbind(1)
    index = (torch.special.ndtr(points[:, -1]) * 961).long().clamp(max=960)
    law = FixedLaw(BINS[20 + index].tolist())
    student = Push(-0.1, 0.3)
    teacher, fake = Gaussian(0.2, 0.5).requires_grad_(False), Gaussian(-0.1, 0.3).requires_grad_(False)
    loss = DistributionMatching(teacher, fake, law).loss(student(z, 1.0), Cond(), ScriptedDraws([noise]))  # type: ignore[arg-type]
    return loss.item(), torch.stack(torch.autograd.grad(loss, [student.mean, student.std]))


def check_normaliser_of_small_images() -> None:
    """On 1 x 4 x 4 the normaliser correlates with the gradient: (-.6267, -.1024), and .2912 for the loss."""
    loss, gradient = small_images(4)
    assert loss == pytest.approx(0.2912, abs=4e-4)
    torch.testing.assert_close(gradient, torch.tensor([-0.6267, -0.1024]).double(), rtol=0, atol=6e-4)


CHECKS = [check_rest_at_the_data, check_adversary_follows_a_divergence, check_normaliser_of_small_images]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_property(check: Callable[[], None]) -> None:
    check()


# mutants: plausible mistakes, each of which the named property must notice


def swapped_scores(self: DistributionMatching, x_g: Tensor, cond: Cond, draws: Any) -> Tensor:
    return ORIGINAL(DistributionMatching(self.fake, self.real, self.law), x_g, cond, draws)


def noise_not_shared(self: DistributionMatching, x_g: Tensor, cond: Cond, draws: Any) -> Tensor:
    sigma = self.law.sample(draws, len(x_g))
    noise = per_sample(sigma, x_g) * draws.normal(*x_g.shape)
    with torch.no_grad():
        real, fake = self.real(x_g + noise, sigma, cond), self.fake(x_g - noise, sigma, cond)
    return losses.injected_gradient(x_g, losses.dmd_gradient(x_g, real, fake))


def normaliser_of_the_batch(x_g: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    return ((fake - real) / (x_g - real).abs().mean()).detach()


def saturating(logits: Tensor) -> Tensor:
    return -torch.nn.functional.softplus(logits)


def unweighted(self: GAN, x_g: Tensor, cond: Cond, real: Batch, draws: Any) -> Tensor:
    fake, true = self.logits(torch.cat([x_g, real.x0]), cond, draws).chunk(2)
    return losses.gan_critic_loss(fake, true).mean()


def adversary_forgotten(self: Critic, x_g: Tensor, cond: Cond, real: Batch, draws: Any) -> Tensor:
    return self.fake.loss(x_g, cond, draws).mean()


ORIGINAL = DistributionMatching.loss
MUTANTS = [
    (DistributionMatching, "loss", swapped_scores, check_rest_at_the_data),
    (DistributionMatching, "loss", noise_not_shared, check_rest_at_the_data),
    (distribution_matching, "dmd_gradient", normaliser_of_the_batch, check_normaliser_of_small_images),
    (DistributionMatching, "loss", swapped_scores, check_normaliser_of_small_images),
    (losses, "gan_generator_loss", saturating, check_adversary_follows_a_divergence),
    (losses, "gan_generator_loss", lambda logits: -logits, check_adversary_follows_a_divergence),
    (discriminator, "gan_critic_loss", lambda fake, real: -saturating(fake), check_rest_at_the_data),
    (GAN, "critic_loss", unweighted, check_rest_at_the_data),
    (Critic, "critic_loss", adversary_forgotten, check_rest_at_the_data),
]


@pytest.mark.parametrize(("owner", "name", "mutant", "check"), MUTANTS)
def test_mutants_are_noticed(
    owner: Any, name: str, mutant: Any, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(AssertionError):
        check()
