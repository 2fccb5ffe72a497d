"""DMD against closed forms: Gaussian teacher N(m, s^2), generator mu + tau z, exact fake score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gaussian_methods import (
    BINS,
    GRID,
    AffineGenerator,
    GaussianDenoiser,
    StratifiedDraws,
    build,
    check_resume,
    gauss_hermite,
    many_normals,
    normal_plane,
    run_context,
    small_net,
    train,
)
from torch import Tensor

import baselines.distribution_matching as matching_module
import baselines.dmd as dmd_module
import baselines.losses as losses
from baselines.datasets.mixtures import Mixture
from baselines.diffusion.cond import Cond
from baselines.diffusion.samplers import euler
from baselines.distances import PseudoHuber, SquaredL2
from baselines.distribution_matching import DistributionMatching
from baselines.dmd import DMD
from baselines.fake_score import FakeScore, KarrasIndexLaw
from baselines.pairs import Pairs
from baselines.sid import sid_loss
from baselines.streams import SampleNoise
from baselines.teachers.mixture import ExactMixture

SMALL = {"pairs": 16, "pair_steps": 3, "warmup": 0, "lr": 1e-3}


def scalar_gradients(m: float, s: float, mu: float, tau: float, sigmas: Tensor, points: Tensor) -> Tensor:
    """(E[g], E[g z]) of the normalised gradient for a sample of many pixels, mean over ``sigmas``."""
    z, n = points.T
    x_g = (mu + tau * z).expand(len(sigmas), -1)
    x = x_g + sigmas[:, None] * n
    real, fake = GaussianDenoiser(m, s), GaussianDenoiser(mu, tau)
    with torch.no_grad():
        g = losses.dmd_gradient(x_g, real(x, sigmas), fake(x, sigmas))
    return torch.stack([g.mean(), (g * z).mean()])


# properties: each raises AssertionError when the method is wrong


def check_kl_gradient() -> None:
    m, s, mu, tau, sigma = 0.3, 0.5, -0.2, 0.3, 0.4
    z, n, weight = normal_plane()
    x_g = (mu + tau * z)[:, None]
    x = x_g + sigma * n[:, None]
    with torch.no_grad():
        real, fake = GaussianDenoiser(m, s)(x, sigma), GaussianDenoiser(mu, tau)(x, sigma)
        raw = (losses.dmd_gradient(x_g, real, fake) * (x_g - real).abs())[:, 0]
    found = torch.stack([(weight * raw).sum(), (weight * raw * z).sum()])
    torch.testing.assert_close(found, torch.tensor([-0.1951220, -0.0749268]).double(), atol=1e-7, rtol=0)

    mean = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
    deviation = torch.tensor(tau, dtype=torch.float64, requires_grad=True)
    ratio = (deviation**2 + sigma**2) / (s**2 + sigma**2)
    kl = (ratio + (mean - m) ** 2 / (s**2 + sigma**2) - 1 - ratio.log()) / 2
    assert kl.item() == pytest.approx(0.3571042, abs=1e-7)
    gradient = torch.stack(torch.autograd.grad(kl, [mean, deviation]))
    torch.testing.assert_close(gradient, torch.tensor([-1.2195122, -0.4682927]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(found / sigma**2, gradient, atol=1e-12, rtol=0)


def check_kl_gradient_of_mixtures() -> None:
    sigma, shift, scale = 0.4, 0.15, 0.8
    law = Mixture(np.array([[-1.0], [0.5]]), np.array([0.3, 0.7]), 0.3)
    real_law = Mixture(np.array([[-0.6], [0.9]]), np.array([0.55, 0.45]), 0.25)

    def generated(a: float, b: float) -> Mixture:
        return Mixture(a + b * law.means, law.weights, b * law.std)

    def kl(a: float, b: float) -> float:
        axis = np.linspace(-9, 9, 20_001)[:, None]

        def density(mixture: Mixture) -> np.ndarray:
            variance = mixture.std**2 + sigma**2
            bumps = np.exp(-((axis - mixture.means.T) ** 2) / (2 * variance))
            return bumps @ mixture.weights / math.sqrt(2 * math.pi * variance)

        fake, real = density(generated(a, b)), density(real_law)
        return float(np.sum(fake * np.log(fake / real)) * (axis[1] - axis[0])[0])

    z, n, weight = normal_plane(80)
    y = torch.cat([float(mean[0]) + law.std * z for mean in law.means])[:, None]
    weight = torch.cat([w * weight for w in law.weights])
    x_g = shift + scale * y
    x = x_g + sigma * torch.cat([n, n])[:, None]
    real, fake = ExactMixture(real_law)(x, sigma), ExactMixture(generated(shift, scale))(x, sigma)
    raw = (losses.dmd_gradient(x_g, real, fake) * (x_g - real).abs())[:, 0] / sigma**2
    h = 1e-4
    slope_shift = (kl(shift + h, scale) - kl(shift - h, scale)) / (2 * h)
    slope_scale = (kl(shift, scale + h) - kl(shift, scale - h)) / (2 * h)
    assert (weight * raw).sum().item() == pytest.approx(slope_shift, abs=1e-7)
    assert (weight * raw * y[:, 0]).sum().item() == pytest.approx(slope_scale, abs=1e-7)


def check_equal_networks_give_zero() -> None:
    x_g = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    law = KarrasIndexLaw(GRID, 20, 980)
    draws = StratifiedDraws(torch.float32)
    loss = DistributionMatching(small_net(), small_net(), law).loss(x_g, Cond(), draws)
    (gradient,) = torch.autograd.grad(loss, [x_g])
    assert loss.item() == 0 and torch.equal(gradient, torch.zeros(4, 2))


def check_injection() -> None:
    generator = torch.Generator().manual_seed(0)
    x_g, real, fake = (
        torch.randn(3, 5, 2, 2, generator=generator, dtype=torch.float64).requires_grad_().unbind()
    )
    x_g = x_g.detach().requires_grad_()
    g = losses.dmd_gradient(x_g, real, fake)
    loss = losses.injected_gradient(x_g, g)
    (gradient,) = torch.autograd.grad(loss, [x_g])
    assert not g.requires_grad
    torch.testing.assert_close(gradient * x_g.numel(), g, atol=1e-14, rtol=1e-14)
    assert loss.item() == pytest.approx(g.square().mean().item() / 2, rel=1e-14)
    scales = (x_g - real).detach().abs().flatten(1).mean(1)
    expected = ((fake - real) / scales[:, None, None]).detach()
    torch.testing.assert_close(g, expected, atol=1e-15, rtol=1e-14)  # each sample its own normaliser


def check_nothing_reaches_the_networks() -> None:
    real, fake, student = GaussianDenoiser(0.2, 0.5), GaussianDenoiser(-0.1, 0.3), AffineGenerator(-0.1, 0.3)
    draws = StratifiedDraws()
    x_g = student(draws.normal(8, 3), 1.0)
    DistributionMatching(real, fake, KarrasIndexLaw(GRID, 20, 980)).loss(x_g, Cond(), draws).backward()
    assert all(p.grad is None for net in (real, fake) for p in net.parameters())
    assert student.mu.grad is not None and student.tau.grad is not None


def check_normaliser() -> None:
    # one sample of 2^12 pixels (Sobol points) at each of the 961 bins
    found = torch.stack(
        [scalar_gradients(0.2, 0.5, -0.1, 0.3, part, many_normals(12)) for part in BINS[20:981].split(31)]
    )
    torch.testing.assert_close(
        found.mean(0), torch.tensor([-0.608237, -0.077853]).double(), atol=5e-4, rtol=0
    )


def check_matching_loss() -> None:
    """The assembled loss: law of sigma, clean x in the normaliser, reduction; Monte Carlo over pixels."""
    student, draws = AffineGenerator(-0.1, 0.3), StratifiedDraws()
    matching = DistributionMatching(
        GaussianDenoiser(0.2, 0.5), GaussianDenoiser(-0.1, 0.3), KarrasIndexLaw(GRID, 20, 980)
    )
    loss = matching.loss(student(draws.normal(961, 1024), 1.0), Cond(), draws)
    loss.backward()
    assert loss.item() == pytest.approx(0.266005, abs=2e-3)
    assert student.mu.grad.item() == pytest.approx(-0.608237, abs=4e-3)
    assert student.tau.grad.item() == pytest.approx(-0.077853, abs=3e-3)


def check_scale_invariance() -> None:
    points, c = many_normals(8), 3.7
    sigmas = torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64)
    plain = scalar_gradients(0.2, 0.5, -0.1, 0.3, sigmas, points)
    scaled = scalar_gradients(c * 0.2, c * 0.5, -c * 0.1, c * 0.3, c * sigmas, points)
    torch.testing.assert_close(scaled, plain, atol=1e-12, rtol=1e-12)


def check_mirrored_generator() -> None:
    points = many_normals(8)
    sigmas = BINS[20:981:60]
    up = scalar_gradients(0.2, 0.5, -0.1, 0.3, sigmas, torch.stack([points[:, 0], points[:, 1]], 1))
    down = scalar_gradients(0.2, 0.5, -0.1, -0.3, sigmas, torch.stack([-points[:, 0], points[:, 1]], 1))
    torch.testing.assert_close(down, up * torch.tensor([1, -1]), atol=1e-12, rtol=1e-12)


def check_flow(start: float, end: float) -> None:
    """Gradient descent with an exact fake score ends at the data, in the generator's own orientation."""
    points, sigmas = many_normals(7), BINS[20:981:30]
    state = torch.tensor([-0.1, start], dtype=torch.float64)
    for rate in [0.2] * 150:
        state = state - rate * scalar_gradients(0.2, 0.5, state[0].item(), state[1].item(), sigmas, points)
    torch.testing.assert_close(state, torch.tensor([0.2, end]).double(), atol=0.02, rtol=0)


def check_pairs(steps: int, factor: float) -> None:
    mean, s = 0.3, 0.5
    z = torch.tensor([[-1.3], [0.2], [2.0]], dtype=torch.float64)
    pairs = dmd_module.sample_pairs(GaussianDenoiser(mean, s), z, Cond(), GRID, steps)
    exact = s * (80 * z - mean) / math.sqrt(s**2 + 80**2)
    torch.testing.assert_close((pairs.y - mean) / exact, torch.full_like(z, factor), atol=2e-6, rtol=0)
    assert torch.equal(pairs.z, z)


def check_fake_loss() -> None:
    draws, fake_law = StratifiedDraws(), KarrasIndexLaw(GRID)
    sigma = fake_law.sample(draws, 1000).double()
    torch.testing.assert_close(sigma, BINS, atol=0, rtol=1e-6)
    torch.testing.assert_close(
        BINS[[20, 249, 499, 749, 980, 999]],
        torch.tensor([0.00323, 0.16808, 2.50397, 17.4981, 72.05, 80.0]).double(),
        rtol=1e-3,
        atol=0,
    )
    z, n, weight = normal_plane(8)
    for tau, expected in ((0.3, 0.55211), (0.5, 1.0)):
        x0 = (tau * z)[:, None]
        per_bin = []
        for level in sigma:
            x0_hat = GaussianDenoiser(0.0, tau)(x0 + level * n[:, None], level)
            error = losses.denoising_loss(x0_hat, x0, level.expand(len(x0)), 0.5)[:, 0]
            per_bin.append((weight * error).sum().item())
        assert np.mean(per_bin) == pytest.approx(expected, rel=2e-5)
    weights = losses.edm_weight(BINS, 0.5)
    assert weights.mean().item() == pytest.approx(5551, abs=1)
    assert weights.max().item() == pytest.approx(250_004, abs=1)


def check_order() -> None:
    """The generator first, then the fake score on the same x; ranges of the two noise laws; 1:1."""
    context = run_context(batch_size=400)
    method = build(DMD, {**SMALL, "pairs": 400}, context)
    events: list[object] = []
    seen: dict[str, list[Tensor]] = {"matching": [], "fake": []}
    originals = {"matching": method.matching.loss, "fake": method.fake.loss}
    samples: list[Tensor] = []

    def spy(name: str, owner: object) -> None:
        def loss(x: Tensor, *rest: object) -> Tensor:
            events.append(name)
            samples.append(x)
            return originals[name](x, *rest)

        object.__setattr__(owner, "loss", loss)

    spy("matching", method.matching)
    spy("fake", method.fake)
    for name, optimizer in context.optimizers.items():
        step = optimizer.step
        optimizer.step = lambda step=step, name=name: (events.append(f"step {name}"), step())  # type: ignore[method-assign]

    network = method.fake.network
    plain_call = network.plain.forward

    def forward(x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        seen["matching" if not torch.is_grad_enabled() else "fake"].append(torch.as_tensor(sigma))
        return plain_call(x, sigma, cond)

    network.plain.forward = forward
    train(method, 11)
    assert events == ["matching", "step student", "fake", "step fake"] * 10
    assert all(samples[i] is samples[i + 1] for i in range(0, 20, 2))
    matching, fake = torch.cat(seen["matching"]), torch.cat(seen["fake"])
    low, high = BINS[20].float(), BINS[980].float()
    assert matching.min() >= low * 0.9999 and matching.max() <= high * 1.0001
    assert matching.min() < BINS[24] and matching.max() > BINS[976]
    assert fake.min() < BINS[5] and fake.max() > BINS[994]


CHECKS = [
    check_kl_gradient,
    check_kl_gradient_of_mixtures,
    check_equal_networks_give_zero,
    check_injection,
    check_nothing_reaches_the_networks,
    check_normaliser,
    check_matching_loss,
    check_scale_invariance,
    check_mirrored_generator,
    check_fake_loss,
    check_order,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_property(check):
    check()


@pytest.mark.parametrize(("start", "end"), [(0.096, 0.5), (0.3, 0.5), (1.5, 0.5), (-0.3, -0.5)])
def test_flow_converges(start, end):
    check_flow(start, end)


@pytest.mark.parametrize(("steps", "factor"), [(18, 1.055270), (40, 1.009773), (256, 1.0002104)])
def test_pairs_are_teacher_samples_with_their_discretisation_error(steps, factor):
    check_pairs(steps, factor)


def test_regression_fixes_the_orientation():
    z, weight = gauss_hermite()
    student = AffineGenerator(-0.1, -0.3)
    y = 0.2 + 0.5 * z
    optimizer = torch.optim.SGD(student.parameters(), lr=0.25)
    for _ in range(80):
        optimizer.zero_grad()
        (weight * SquaredL2()(student(z[:, None], 1.0)[:, 0], y)).sum().backward()
        optimizer.step()
    assert student.mu.item() == pytest.approx(0.2, abs=1e-9)
    assert student.tau.item() == pytest.approx(0.5, abs=1e-9)


def test_untrained_generator_is_nearly_constant():
    z = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    method = build(DMD, SMALL, net=GaussianDenoiser(0.3, 0.5))
    x = method.generate(z, Cond()).detach()
    assert (x[1] - x[0]).item() == pytest.approx(0.25 * 80 / 6400.25, rel=1e-12)
    assert x[0].item() == pytest.approx(0.3 * 6400 / 6400.25, rel=1e-12)


def test_sid_with_detached_networks_has_the_same_direction():
    generator = torch.Generator().manual_seed(0)
    x, real, fake = torch.randn(3, 4, 3, 2, 2, generator=generator, dtype=torch.float64).unbind()
    x.requires_grad_()
    (dmd,) = torch.autograd.grad(losses.injected_gradient(x, losses.dmd_gradient(x, real, fake)), [x])
    for alpha in (0.5, 1.2):
        (sid,) = torch.autograd.grad(sid_loss(x, real, fake, alpha).mean(), [x])
        torch.testing.assert_close(sid, dmd * 12, rtol=1e-12, atol=1e-15)


def test_a_vanishing_normaliser_gives_no_gradient():
    x = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.5, 0.0]])
    real = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]])
    fake = torch.tensor([[0.5, 0.5], [0.7, 0.5], [0.25, 0.0]])
    g = losses.dmd_gradient(x, real, fake)
    assert torch.equal(g, torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))


def test_pseudo_huber_limits():
    delta = torch.tensor([-2.0, 1e-3, 1e-7], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(PseudoHuber(1e-12)(delta, zero), delta.abs(), atol=1e-11, rtol=0)
    small = PseudoHuber(0.1)(delta[2:], zero[2:]).item()
    assert small == pytest.approx(1e-14 / 0.2, rel=1e-9)
    value = PseudoHuber(0.001)(delta, zero)
    assert value[1].item() == pytest.approx((math.sqrt(2) - 1) * 1e-3, rel=1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), [delta])
    assert gradient.abs().max() <= 1


@pytest.mark.parametrize("distance", ["l2", "huber"])
def test_resume_is_exact_and_pays_for_pairs_once(distance):
    config = {**SMALL, "distance": distance, "pairs": 4 * 8 - 3}  # saved in the middle of making pairs
    check_resume(lambda: build(DMD, config, run_context(data_free=True)))


def test_units_per_iteration():
    method = build(DMD, SMALL, run_context(data_free=True))
    meter = method.context.meter
    train(method, 2)
    assert meter.by_role() == {"teacher": 2 * 8 * 5}
    before = meter.work()
    train(method, 1)
    assert meter.work() - before == 8 * 11
    assert meter.by_role() == {"teacher": 8 * 11, "student": 8 * 6, "fake": 8 * 4}


def test_pairs_beyond_the_budget_are_refused():
    method = build(DMD, {**SMALL, "pairs": 800}, run_context(budget=3000.0))
    with pytest.raises(ValueError, match="lower the option 'pairs'"):
        train(method, 1)


def test_regression_batches_keep_latent_sample_and_label_together(monkeypatch):
    count = 40
    z = torch.arange(count, dtype=torch.float32)[:, None].expand(-1, 2).contiguous()
    method = build(DMD, {**SMALL, "pairs": count})
    method.chunks = [Pairs(z, 2 * z, Cond(label=torch.arange(count)))]
    asked: list[tuple[Tensor, Tensor]] = []

    def generate(z: Tensor, cond: Cond) -> Tensor:
        asked.append((z, cond.label))
        return 2 * z

    monkeypatch.setattr(method, "generate", generate)
    assert method.regression_loss().item() == 0
    ((latents, labels),) = asked
    assert torch.equal(latents[:, 0].long(), labels) and len(labels) == 8 and len(set(labels.tolist())) > 3


def test_warm_up_starts_when_the_pairs_are_made():
    method = build(DMD, {**SMALL, "warmup": 4})
    rates = []
    for _ in range(8):
        train(method, 1)
        rates.append(method.context.optimizers["student"].param_groups[0]["lr"] / SMALL["lr"])
    assert rates == [1, 1, 0, 0.25, 0.5, 0.75, 1, 1]


def test_generator_is_one_step_from_sigma_max():
    method = build(DMD, SMALL)
    students = method.students()
    noise = SampleNoise(0, range(5), (2,))
    found = DMD.generator(students, method.config, method.space).sample(noise, Cond(), 1)
    assert torch.equal(found, students[1](noise.initial() * 80, 80.0))
    assert DMD.served_nfe(method.config) == (1,)


# mutants: plausible mistakes, each of which some property must notice


def flipped_sign(x, real, fake):
    return ORIGINAL_GRADIENT(x, fake, real) * (x - fake).abs().mean() / (x - real).abs().mean()


def fake_in_normaliser(x, real, fake):
    return (fake - real) / losses.per_sample(losses.pixel_mean((x - fake).abs()), x)


def normaliser_of_the_batch(x, real, fake):
    return ((fake - real) / (x - real).abs().mean()).detach()


def differentiable_gradient(x, real, fake):
    return (fake - real) / losses.per_sample(losses.pixel_mean((x - real).abs()), x)


def summed(x, g):
    return (x - (x - g).detach()).square().sum() / 2


def without_half(x, g):
    return (x - (x - g).detach()).square().mean()


def euler_pairs(denoiser, z, cond, grid, steps):
    return Pairs(z, euler(denoiser, z * grid.sigma_max, grid.solver(steps), cond), cond)


def one_node_short(denoiser, z, cond, grid, steps):
    return dmd_module_pairs(denoiser, z, cond, grid, steps - 1)


def noisy_normaliser(self, x_g, cond, draws):
    with torch.no_grad():
        sigma = self.law.sample(draws, len(x_g))
        x = x_g + losses.per_sample(sigma, x_g) * draws.normal(*x_g.shape)
        gradient = losses.dmd_gradient(x, self.real(x, sigma, cond), self.fake(x, sigma, cond))
    return losses.injected_gradient(x_g, gradient)


def sixfold_noise_law(self, draws, count):
    return self.grid(draws.uniform(count)).float()


def fake_first(self, batch):
    if self.made() < self.config.pairs:
        return self.make_pairs(batch)
    draws = self.context.draws()
    x_g = self.generate(draws.normal(batch.size, *self.space.shape), batch.cond)
    dmd_module.descend(self.fake.loss(x_g, batch.cond, draws).mean(), self.fake_optimizer)
    dmd_module.descend(self.matching.loss(x_g, batch.cond, draws) + self.regression_loss(), self.optimizer)
    return {}


ORIGINAL_GRADIENT = losses.dmd_gradient
dmd_module_pairs = dmd_module.sample_pairs
MUTANTS = [
    (losses, "dmd_gradient", flipped_sign),
    (losses, "dmd_gradient", fake_in_normaliser),
    (losses, "dmd_gradient", normaliser_of_the_batch),
    (losses, "dmd_gradient", differentiable_gradient),
    (losses, "injected_gradient", summed),
    (losses, "injected_gradient", without_half),
    (dmd_module, "sample_pairs", euler_pairs),
    (dmd_module, "sample_pairs", one_node_short),
    (DistributionMatching, "loss", noisy_normaliser),
    (KarrasIndexLaw, "sample", sixfold_noise_law),
    (DMD, "step", fake_first),
]


@pytest.mark.parametrize(
    ("owner", "name", "mutant"), MUTANTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_mutants_are_noticed(monkeypatch, owner, name, mutant):
    monkeypatch.setattr(owner, name, mutant)
    if owner is losses:
        monkeypatch.setattr(matching_module, name, mutant)
    noticed = []
    for check in [*CHECKS, lambda: check_pairs(18, 1.055270)]:
        try:
            check()
        except AssertionError as error:
            noticed.append(error)
            break
    assert noticed, f"no property notices {mutant.__name__}"


def test_fake_score_is_fitted_on_detached_samples():
    fake = FakeScore(small_net(), KarrasIndexLaw(GRID))
    x_g = torch.zeros(4, 2, requires_grad=True)
    fake.loss(x_g, Cond(), StratifiedDraws(torch.float32)).mean().backward()
    assert x_g.grad is None and fake.network.model.out.weight.grad is not None
