"""What SiD must satisfy, in closed form. Checks take the module under test, so that mutants can be tried.

Teacher data N(m, s^2), generator ``x_g = mu + tau z``, exact fake score unless said otherwise. With
``k_s = s^2/(s^2+sigma^2)``, ``k_t = tau^2/(tau^2+sigma^2)``, ``D = k_s - k_t``, ``r = (1-k_s)(m-mu)``.
At a fixed sigma the loss is quadratic in the noise, so three Gauss-Hermite nodes integrate it exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from oracles import (
    Affine,
    Detached,
    FixedLaw,
    Gaussian,
    Push,
    Rig,
    gauss_hermite,
    hermite_pair,
    normal_quantiles,
    rig,
)
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser

ALPHAS = (-1.0, 0.0, 0.5, 1.0, 1.2, 2.0)


@dataclass(frozen=True)
class Scene:
    """Teacher N(m, s^2), generator N(mu, tau^2), one noise level."""

    m: float = 0.3
    s: float = 0.5
    mu: float = -0.2
    tau: float = 0.3
    sigma: float = 0.4

    @property
    def k_s(self) -> float:
        return self.s**2 / (self.s**2 + self.sigma**2)

    @property
    def k_t(self) -> float:
        return self.tau**2 / (self.tau**2 + self.sigma**2)

    @property
    def gap(self) -> float:
        return self.k_s - self.k_t

    @property
    def r(self) -> float:
        return (1 - self.k_s) * (self.m - self.mu)

    @property
    def squared_gap(self) -> float:
        """``L = E delta^2``."""
        return self.r**2 + self.gap**2 * (self.tau**2 + self.sigma**2)


SCENES = (
    Scene(),
    Scene(-0.4, 0.2, 0.5, 0.9, 1.3),
    Scene(0.0, 1.1, 0.1, 0.05, 0.07),
    Scene(0.1, 0.5, 2, 2, 24),
)


@contextmanager
def unit_weight(sid: ModuleType) -> Iterator[None]:
    """The loss with omega = 1."""
    official = sid.normaliser
    sid.normaliser = lambda x_g, f_phi: x_g.new_ones(len(x_g))
    try:
        yield
    finally:
        sid.normaliser = official


def method_for(
    sid: ModuleType, scene: Scene, alpha: float, fake: Denoiser | None = None, shape: tuple[int, ...] = (1,)
) -> Any:
    """SiD on a Gaussian teacher, with the generator and the fake score replaced by oracles."""
    made: Rig = rig(Gaussian(scene.m, scene.s), shape=shape, data_free=True)
    method = sid.SiD(made.teacher, sid.SiDConfig(alpha=alpha), made.context)
    method.student.plain = Push(scene.mu, scene.tau)
    method.fake.network.plain = fake or Gaussian(scene.mu, scene.tau)
    method.law = FixedLaw([scene.sigma])
    return method


def value_and_gradient(method: Any, z: Tensor, noise: Tensor) -> tuple[float, float, float]:
    """Per-pixel mean of the generator loss, and its derivatives in mu and tau."""
    method.context.play(z, noise)
    loss = method.generator_loss(method.generate(Cond(), len(z)), Cond()) / z[0].numel()
    student = method.student.plain
    d_mu, d_tau = torch.autograd.grad(loss, (student.mean, student.std))
    return loss.item(), d_mu.item(), d_tau.item()


def exact(sid: ModuleType, scene: Scene, alpha: float, fake: Denoiser | None = None) -> tuple[float, ...]:
    """The same with omega = 1, integrated exactly."""
    with unit_weight(sid):
        return value_and_gradient(method_for(sid, scene, alpha, fake), *hermite_pair())


def close(found: Any, expected: Any, tolerance: float) -> None:
    found, expected = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (found, expected))
    error = float((found - expected).abs().max())
    assert error <= tolerance, f"found {found.tolist()}, expected {expected.tolist()} to {tolerance:g}"


def check_value_and_gradient(sid: ModuleType) -> None:
    """E loss = (1 - alpha) L, and both derivatives in closed form."""
    for scene in SCENES:
        for alpha in ALPHAS:
            k_s, k_t, gap, r = scene.k_s, scene.k_t, scene.gap, scene.r
            d_mu = r * (2 * (1 - alpha) * gap - (1 - k_t))
            d_tau = -2 * gap * scene.tau * ((1 - k_s) + alpha * gap)
            expected = ((1 - alpha) * scene.squared_gap, d_mu, d_tau)
            close(exact(sid, scene, alpha), expected, 1e-12)


def check_reference_numbers(sid: ModuleType) -> None:
    scene = Scene()
    close(scene.squared_gap, 0.0536671, 5e-8)
    expected = {
        0.0: (-0.0274123, -0.0584795),
        0.5: (-0.0761452, -0.0771929),
        1.0: (-0.1248780, -0.0959063),
        1.2: (-0.1443712, -0.1033917),
    }
    for alpha, gradient in expected.items():
        close(exact(sid, scene, alpha)[1:], gradient, 6e-8)
    close(exact(sid, scene, 1.2)[0], -0.0107334, 6e-8)


def check_kl_gradient_at_alpha_one(sid: ModuleType) -> None:
    """At alpha = 1 the value is 0 and the gradient is (1 - k_t)(1, 2) sigma^2 times that of the KL."""
    for scene in SCENES:
        mu, tau = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (scene.mu, scene.tau))
        ours = torch.distributions.Normal(mu, (tau**2 + scene.sigma**2).sqrt())
        width = torch.tensor(scene.s**2 + scene.sigma**2, dtype=torch.float64).sqrt()
        data = torch.distributions.Normal(torch.full_like(width, scene.m), width)
        slopes = torch.autograd.grad(torch.distributions.kl_divergence(ours, data), (mu, tau))
        factor = (1 - scene.k_t) * scene.sigma**2
        value, d_mu, d_tau = exact(sid, scene, 1.0)
        close((value, d_mu, d_tau), (0, factor * float(slopes[0]), 2 * factor * float(slopes[1])), 1e-12)


def check_gradient_identity_on_mixtures(sid: ModuleType) -> None:
    """For any laws: grad SiD = (1 - alpha) A + B / 2, where grad E delta^2 = A + B and A has psi fixed."""
    nodes, weights = gauss_hermite(120)
    atoms = torch.tensor([-1.0, 0.2, 1.4], dtype=torch.float64)
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    centres, sigma = torch.tensor([-0.8, 0.7], dtype=torch.float64), 0.9
    mu = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    tau = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def posterior(x: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        return (logits - (x - points) ** 2 / (2 * sigma**2)).softmax(-1) @ points[:, None]

    points = mu + tau * atoms
    y = points.repeat_interleave(len(nodes))[:, None]
    x = y + sigma * nodes.repeat(len(atoms))[:, None]
    mass = shares.repeat_interleave(len(nodes)) * weights.repeat(len(atoms))
    f_phi = posterior(x, centres, centres.new_zeros(2))
    frozen, live = (posterior(x, p, shares.log()) for p in (points.detach(), points))

    def gradient(rows: Tensor) -> Tensor:
        return torch.stack(torch.autograd.grad(mass @ rows, (mu, tau), retain_graph=True))

    part_a = gradient(((f_phi - frozen) ** 2).sum(1))
    part_b = gradient(((f_phi - live) ** 2).sum(1)) - part_a
    with unit_weight(sid):
        for alpha in ALPHAS:
            found = gradient(sid.sid_loss(y, f_phi, frozen, alpha))
            close(found, (1 - alpha) * part_a + part_b / 2, 1e-11)


def check_gradient_routes(sid: ModuleType) -> None:
    """Each route (explicit x_g, through f_phi, through f_psi) carries its term; without both nets: DMD's."""
    scene = Scene()
    k_s, k_t, gap, r, tau = scene.k_s, scene.k_t, scene.gap, scene.r, scene.tau
    for alpha in ALPHAS:
        explicit = (-r, -gap * tau)
        through_phi = (2 * r * (1 - alpha) * k_s, k_s * tau * (-(1 - k_s) + (1 - 2 * alpha) * gap))
        through_psi = (r * (2 * alpha - 1) * k_t, k_t * tau * ((1 - k_s) + 2 * alpha * gap))
        for phi_flows in (True, False):
            for psi_flows in (True, False):
                method = method_for(sid, scene, alpha)
                if not phi_flows:
                    method.teacher.net.plain = Detached(method.teacher.net.plain)
                if not psi_flows:
                    method.fake.network.plain = Detached(method.fake.network.plain)
                expected = [
                    e + phi_flows * p + psi_flows * q
                    for e, p, q in zip(explicit, through_phi, through_psi, strict=True)
                ]
                with unit_weight(sid):
                    close(value_and_gradient(method, *hermite_pair())[1:], expected, 1e-13)


def check_stale_fake(sid: ModuleType) -> None:
    """Closed form for any affine fake score ``mu_f + k_f (x - mu_f)``."""
    for scene in SCENES:
        for mu_f, k_f in ((0.7, 0.1), (-0.5, 0.95)):
            for alpha in ALPHAS:
                k_s, r, tau, var = scene.k_s, scene.r, scene.tau, scene.tau**2 + scene.sigma**2
                gap = k_s - k_f
                mean = (1 - k_s) * scene.m - (1 - k_f) * mu_f + gap * scene.mu
                value = mean * r + gap * (k_s * scene.sigma**2 - (1 - k_s) * tau**2)
                value -= alpha * (mean**2 + gap**2 * var)
                d_mu = gap * r - (1 - k_s) * mean - 2 * alpha * gap * mean
                d_tau = -2 * gap * tau * ((1 - k_s) + alpha * gap)
                scale = max(1.0, abs(value))
                close(exact(sid, scene, alpha, Affine(mu_f, k_f)), (value, d_mu, d_tau), 1e-12 * scale)


def check_fake_error_is_second_order_at_half(sid: ModuleType) -> None:
    """With ``f_psi = psi* + e``: value = (1-alpha) L + (2 alpha - 1) E[e delta*] - alpha E e^2."""
    scene, error = Scene(), 0.05
    fake = Affine((scene.mu * (1 - scene.k_t) + error) / (1 - scene.k_t), scene.k_t)  # constant e
    for alpha in ALPHAS:
        expected = (1 - alpha) * scene.squared_gap + (2 * alpha - 1) * error * scene.r - alpha * error**2
        close(exact(sid, scene, alpha, fake)[0], expected, 1e-12)


def check_signs_flip_where_theory_says(sid: ModuleType) -> None:
    """Which alpha gives a wrong sign, and from which spread tau on (fixed sigma, omega = 1)."""
    for alpha in (0.5, 0.75, 1.0):
        for tau in (0.01, 0.3, 0.7, 5.0):
            scene = Scene(tau=tau)
            _, d_mu, d_tau = exact(sid, scene, alpha)
            assert d_mu < 0 and (d_tau < 0) == (tau < scene.s), (alpha, tau, d_mu, d_tau)
    s, sigma = 0.5, 0.4
    mean_flip = (3.5 * s**2 + 2.5 * sigma**2) ** 0.5
    spread_flip = (6 * s**2 + 5 * sigma**2) ** 0.5
    for factor, right in ((0.99, True), (1.01, False)):
        assert (exact(sid, Scene(tau=mean_flip * factor), 1.2)[1] < 0) == right
        assert (exact(sid, Scene(tau=spread_flip * factor), 1.2)[2] > 0) == right
    # alpha < 1/2: the mean is pushed away from the data when the generator has collapsed
    small, alpha = 0.1, 0.0
    collapsed = (s**2 - (s**2 + small**2) / (2 * (1 - alpha))) ** 0.5
    for factor, right in ((1.01, True), (0.99, False)):
        assert (exact(sid, Scene(tau=collapsed * factor, sigma=small), alpha)[1] < 0) == right
    shrinking = (
        -(-1 * s**2 + small**2) / 2
    ) ** 0.5  # alpha = -1: tau^2 < -(alpha s^2 + sigma^2) / (1 - alpha)
    for factor, right in ((1.01, True), (0.99, False)):
        assert (exact(sid, Scene(tau=shrinking * factor, sigma=small), -1.0)[2] < 0) == right


def scheduled(sid: ModuleType, scene: Scene, alpha: float, side: int, times: int) -> tuple[float, ...]:
    """Value and gradient with the official omega and t ~ U[0, 0.8], pixels standing for independent draws."""
    method = method_for(sid, scene, alpha, shape=(side, side))
    method.law = FixedLaw(method.space.grid(1 - 0.8 * (torch.arange(times) + 0.5) / times).tolist())
    first, second = torch.meshgrid(normal_quantiles(side), normal_quantiles(side), indexing="ij")
    return value_and_gradient(method, first.expand(times, side, side), second.expand(times, side, side))


def check_official_weight_over_the_schedule(sid: ModuleType) -> None:
    """The limit of many pixels, integrated over the schedule."""
    expected = {
        1.2: (-0.030368, -0.495532, -0.087896),
        1.0: (0.0, -0.484298, -0.082608),
        0.5: (0.075921, -0.456214, -0.069388),
    }
    for alpha, numbers in expected.items():
        found = scheduled(sid, Scene(0.2, 0.5, -0.1, 0.3), alpha, side=100, times=50)
        close(found, numbers, 6e-4)


def check_spread_flips_over_the_schedule(sid: ModuleType) -> None:
    """With the official omega d_tau changes sign at tau = 2.52 (alpha 1.5) and 1.27 (alpha 2)."""
    for alpha, flip in ((1.5, 2.52), (2.0, 1.27)):
        for factor, right in ((0.98, True), (1.02, False)):
            scene = Scene(m=0.0, mu=0.0, tau=flip * factor)
            assert (scheduled(sid, scene, alpha, side=48, times=50)[2] > 0) == right, (alpha, factor)


def check_weight_is_detached_mean_residual(sid: ModuleType) -> None:
    """omega = 1 / max(mean |x_g - f_phi|, 1e-5), per sample, without gradient."""
    x_g = torch.tensor([[1.0, -2.0], [0.25, 0.25], [1.0, 1.0]], requires_grad=True)
    f_phi = torch.tensor([[0.5, 2.0], [0.0, 0.75], [1.0, 1.0]], requires_grad=True)
    omega = sid.normaliser(x_g, f_phi)
    assert not omega.requires_grad
    close(omega, (1 / 2.25, 1 / 0.375, 1e5), 1e-2)
    f_psi = f_phi.detach() + 0.5
    loss = sid.sid_loss(x_g, f_phi, f_psi, 1.2)
    close(loss.detach()[:2], [(1 / 2.25) * (-1.75 - 0.6), (1 / 0.375) * (-0.125 - 0.6)], 1e-6)


def check_reduction(sid: ModuleType) -> None:
    """Sum over pixels, mean over the batch: with omega = 1, D pixels give D times the one-pixel loss."""
    z, noise = hermite_pair()
    with unit_weight(sid):
        method = method_for(sid, Scene(), 1.2, shape=(2, 3))
        method.context.play(z[:, :, None].expand(36, 2, 3), noise[:, :, None].expand(36, 2, 3))
        loss = method.generator_loss(method.generate(Cond(), 36), Cond())
    close(loss.detach(), 6 * exact(sid, Scene(), 1.2)[0], 1e-12)


def check_zero_when_matched(sid: ModuleType) -> None:
    for scene in (Scene(0.3, 0.5, 0.3, 0.5), Scene(-0.1, 2.0, -0.1, 2.0, 5.0)):
        for alpha in ALPHAS:
            close(exact(sid, scene, alpha), (0, 0, 0), 1e-15)


def check_fake_loss_in_closed_form(sid: ModuleType) -> None:
    """The fake loss per pixel is lambda tau^2 sigma^2 / (tau^2 + sigma^2): 1 at every sigma if tau = 0.5."""
    fake_score = type(method_for(sid, Scene(), 1.2).fake)
    for tau in (0.5, 0.3):
        for sigma in (0.002, 0.1, 0.4, 2.0, 60.0):
            scene = Scene(tau=tau, sigma=sigma)
            method = method_for(sid, scene, 1.2)
            fake = fake_score(method.fake.network, FixedLaw([sigma]), method.fake.sigma_data)
            z, noise = hermite_pair()
            method.context.play(z, noise)
            x_g = method.generate(Cond(), 36)
            loss = fake.loss(x_g, Cond(), method.context.draws()).mean()
            weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
            close(loss.detach(), weight * tau**2 * sigma**2 / (tau**2 + sigma**2), 1e-11)
            if tau == 0.5:
                close(loss.detach(), 1.0, 1e-11)
            oracle = method.fake.network.plain
            slopes = torch.autograd.grad(loss, (oracle.mean, oracle.std), retain_graph=True)
            close(torch.stack(slopes), (0, 0), 1e-9)  # the posterior mean is the optimum
            through = torch.autograd.grad(loss, method.student.plain.std, allow_unused=True)
            assert through == (None,)  # generated samples are data to the fake score


def check_start_of_generator(sid: ModuleType) -> None:
    """A copy of the teacher N(m, s^2) at sigma_init = 2.5 generates std 0.09615 and mean 0.9615 m."""
    made = rig(Gaussian(0.3, 0.5), data_free=True)
    method = sid.SiD(made.teacher, sid.SiDConfig(), made.context)
    method.context.play(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    low, high = method.generate(Cond(), 2).flatten().tolist()
    close(((high - low) / 2, (high + low) / 2), (0.25 * 2.5 / 6.5, 0.3 * 6.25 / 6.5), 1e-14)


def check_noise_laws(sid: ModuleType) -> None:
    """Generator loss: Karras time up to 0.8; fake score: ln sigma ~ N(-1.2, 1.2^2)."""
    made = rig(Gaussian(0.3, 0.5), data_free=True)
    method = sid.SiD(made.teacher, sid.SiDConfig(), made.context)
    made.context.play(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    levels = method.law.sample(made.context.draws(), 4)
    close(levels[[0, 3]], (0.002, 24.40834), 5e-6)
    close(levels[1:3], (0.0851, 0.965), 5e-4)
    made.context.play(torch.tensor([-1.0, 0.0, 2.0]))
    levels = method.fake.law.sample(made.context.draws(), 3)
    close(levels.log(), (-2.4, -1.2, 1.2), 1e-6)


def check_nan_samples_count_as_zero(sid: ModuleType) -> None:
    """A sample with nan leaves the sum and stays in the divisor; its gradient is gone too."""
    z, noise = hermite_pair()
    alive = torch.ones(36, dtype=torch.bool)
    alive[[3, 17]] = False

    class Broken(Gaussian):
        def forward(self, x: Tensor, sigma: Any, cond: Cond | None = None) -> Tensor:
            out = super().forward(x, sigma, cond)
            return torch.where(alive[: len(x), None], out, torch.nan) if len(x) == 36 else out

    for broken in ("teacher", "fake"):
        method, whole = method_for(sid, Scene(), 1.2), method_for(sid, Scene(), 1.2)
        shell = method.teacher.net if broken == "teacher" else method.fake.network
        shell.plain = Broken(shell.plain.mean.item(), shell.plain.std.item())
        found = value_and_gradient(method, z, noise)
        expected = value_and_gradient(whole, z[alive], noise[alive])
        close(found, [value * 34 / 36 for value in expected], 1e-13)


def flow(sid: ModuleType, alpha: float, steps: int) -> tuple[float, float]:
    """Gradient descent of (mu, tau) with an exact fake score, from the start of training."""
    scene = Scene(m=0.3, s=0.5, mu=0.288, tau=0.096)
    method = method_for(sid, scene, alpha)
    method.law = FixedLaw(
        method.space.grid(1 - 0.8 * (torch.arange(12) + 0.5) / 12).repeat_interleave(36).tolist()
    )
    z, noise = (values.repeat(12, 1) for values in hermite_pair())
    mu, tau = scene.mu, scene.tau
    for _ in range(steps):
        method.student.plain, method.fake.network.plain = Push(mu, tau), Gaussian(mu, tau)
        with unit_weight(sid):
            _, d_mu, d_tau = value_and_gradient(method, z, noise)
        mu, tau = mu - 0.9 * d_mu, max(tau - 0.9 * d_tau, 1e-6)
    return mu, tau


def check_flow_reaches_the_data(sid: ModuleType) -> None:
    """The flow converges to (m, s) for alpha in 0 .. 1.2 and collapses for alpha = -1."""
    for alpha in (0.0, 0.5, 1.0, 1.2):
        close(flow(sid, alpha, 100), (0.3, 0.5), 1e-4)
    assert flow(sid, -1.0, 50)[1] < 1e-3


PROPERTIES = [function for name, function in list(globals().items()) if name.startswith("check_")]
