"""What moment matching must satisfy on a centred Gaussian, in closed form; mutants are tried on it too.

Data N(0, s^2), V = s^2 + sigma_t^2, r = sigma_s^2 / sigma_t^2, kappa_s = s^2 / (s^2 + sigma_s^2), student
``x_hat = a z_t``, c = r + (1 - r) a. All losses are quadratic in the noise, so the orthogonal columns of a
Hadamard matrix (each of mean 0 and variance 1) integrate them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from oracles import Affine, Formula, Oracle, Rig, rig, scalar
from scipy.linalg import hadamard
from torch import Tensor

from baselines.auxiliary import Auxiliary
from baselines.datasets.mixtures import ring
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.noise import KarrasGrid, edm_weight
from baselines.diffusion.posterior import StepPairs, Transition
from baselines.distiller import Batch
from baselines.moment_matching import MMConfig, MomentMatching
from baselines.networks.mlp import ResidualMLP
from baselines.streams import torch_generator
from bench.meter import Metered

S = 0.7


def columns(rows: int, count: int) -> list[Tensor]:
    """``count`` orthogonal columns of +-1, each ``[rows, 1]``, orthogonal to the constant too."""
    matrix = torch.from_numpy(hadamard(rows).astype(np.float64))
    return [matrix[:, 1 + i : 2 + i] for i in range(count)]


@dataclass(frozen=True)
class FixedPairs(StepPairs):
    """The given levels, whatever is drawn; each pair meets every row of the design."""

    levels: tuple[Tensor, Tensor] | None = None

    def __call__(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        assert self.levels is not None
        return self.levels


@dataclass
class Design:
    """A method whose draws integrate quadratic forms exactly, at one or many pairs of levels."""

    method: MomentMatching
    rig: Rig
    batch: Batch
    draws: list[Tensor]

    def play(self, times: int = 1) -> None:
        self.rig.context.play(*self.draws * times)

    def error(self) -> Tensor:
        """What phi descends."""
        method = self.method
        self.play()
        return method.error(self.batch, lambda state: state.estimate(method.student), method.moments.phi)

    def slope(self) -> Tensor:
        """``E[x_hat z_s] / E[z_s^2]`` as the method draws them."""
        self.play()
        state = self.method.draw_state(self.batch)
        with torch.no_grad():
            z, _, _ = state.land(x_hat := state.estimate(self.method.student))
        return (x_hat * z).mean() / z.square().mean()

    def gradient(self) -> Tensor:
        """Of the student's loss in its gain."""
        self.play()
        loss = self.method.loss(self.method.draw_state(self.batch))
        (grad,) = torch.autograd.grad(loss, [self.method.student.plain.gain])
        return grad


def design(
    teacher: Denoiser,
    sigma_s: Any,
    sigma_t: float,
    s: float = S,
    *,
    exact: Denoiser | None = None,
    **options: Any,
) -> Design:
    low = torch.atleast_1d(torch.as_tensor(sigma_s, dtype=torch.float64)).repeat_interleave(4)
    high = torch.full_like(low, sigma_t)
    x, eps, xi = (column.repeat(len(low) // 4, 1) for column in columns(4, 3))
    made = rig(teacher, batch_size=len(low))
    config = MMConfig(**{"warmup": 0, "clip": 1e9, "real_batches": 0, **options})
    method = MomentMatching(made.teacher, config, made.context)
    method.pairs = FixedPairs(KarrasGrid(), 1, (low, high))
    unused = torch.zeros(len(low))
    return Design(method, made, Batch(Cond(), len(low), s * x), [unused, unused, eps, xi])


@dataclass(frozen=True)
class Scene:
    """One pair of levels and a deterministic student."""

    s: float = S
    sigma_t: float = 2.0
    sigma_s: float = 1.0
    a: float = 0.2

    @property
    def r(self) -> float:
        return self.sigma_s**2 / self.sigma_t**2

    @property
    def v(self) -> float:
        return self.s**2 + self.sigma_t**2

    @property
    def kappa(self) -> float:
        return self.s**2 / (self.s**2 + self.sigma_s**2)

    @property
    def c(self) -> float:
        return self.r + (1 - self.r) * self.a

    @property
    def variance(self) -> float:
        """Of z_s."""
        return self.c**2 * self.v + self.sigma_s**2 * (1 - self.r)

    @property
    def slope(self) -> float:
        """``b*`` of ``E[x_hat | z_s] = b* z_s``."""
        return self.a * self.c * self.v / self.variance

    @property
    def weight(self) -> float:
        return float(edm_weight(torch.tensor(self.sigma_s, dtype=torch.float64), 0.5))

    @property
    def root(self) -> float:
        """Where the student comes to rest: positive root of the quadratic."""
        s2, t2, r, v = self.s**2, self.sigma_t**2, self.r, self.v
        p, q = v * (r * v - (1 - r) * s2), -(r * s2 * v + s2 * t2 * (1 - r))
        lead = (1 - r) * v**2
        return float((-p + (p * p - 4 * lead * q) ** 0.5) / (2 * lead))

    def design(self, phi: float, **options: Any) -> Design:
        made = design(Affine(0.0, self.kappa), self.sigma_s, self.sigma_t, self.s, **options)
        with torch.no_grad():
            made.method.student.plain.gain.fill_(self.a)
            made.method.phi.plain.gain.fill_(phi)
        return made


SCENES = (Scene(), Scene(a=0.4, sigma_s=0.2), Scene(0.3, 0.8, 0.5, -0.1))
ROOTS = {(2.0, 1.0): 0.27022, (2.0, 0.2): 0.36697, (2.0, 1.9): 0.11950, (0.5, 0.3): 0.82356}


def close(value: Tensor | float, expected: float, rel: float = 1e-9) -> None:
    found = float(torch.as_tensor(value).detach())
    assert abs(found - expected) <= rel * max(abs(expected), 1e-3), (found, expected)


def equal_networks_give_exactly_no_gradient() -> None:
    net = Denoiser(ResidualMLP(2, 16, 2), EDMScaling(0.5))
    net.model.initialise(torch_generator(0, "init"))  # type: ignore[operator]
    made = rig(net, shape=(2,), batch_size=32, draw=lambda number, size: ring().batch(0, number, size))
    method = MomentMatching(made.teacher, MMConfig(warmup=0), made.context)
    made.context.iteration = 1  # no even step before: phi is theta
    before = [p.clone() for p in method.student.plain.parameters()]
    with torch.no_grad():
        method.student.plain.model.out.weight.add_(0.1)
    moved = [p.clone() for p in method.student.plain.parameters()]
    method.step(made.context.next_batch())
    assert all(torch.equal(p, q) for p, q in zip(method.student.plain.parameters(), moved, strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(before, moved, strict=True))


def student_gradient_is_the_closed_form() -> None:
    """``dL/da = w (b - kappa_s) c V``; a leak through z_s would multiply by ``(c + (1 - r) a) / c``."""
    for scene in SCENES:
        for b in (-0.3, 0.1, 0.9):
            close(scene.design(b).gradient(), scene.weight * (b - scene.kappa) * scene.c * scene.v)


def auxiliary_optimum_is_halfway() -> None:
    """``phi* = (b* + kappa_s) / 2``: the gradient of its loss is ``2 w Var(z_s) (2 phi - b* - kappa_s)``."""
    for scene in SCENES:
        for phi in (0.0, (scene.slope + scene.kappa) / 2, 0.8):
            made = scene.design(phi)
            (grad,) = torch.autograd.grad(made.error(), [made.method.phi.plain.gain])
            expected = 2 * scene.weight * scene.variance * (2 * phi - scene.slope - scene.kappa)
            close(grad, expected)


def student_rests_at_the_root() -> None:
    """At one (s, t) with phi at its optimum the gradient changes sign at the published roots."""
    for (sigma_t, sigma_s), root in ROOTS.items():
        close(Scene(S, sigma_t, sigma_s).root, root, 2e-5)
        signs = []
        for a in (0.998 * root, 1.002 * root):
            scene = Scene(S, sigma_t, sigma_s, a)
            made = scene.design(scene.kappa)
            made.method.phi.plain.gain.data.fill_((float(made.slope()) + scene.kappa) / 2)
            close(made.slope(), scene.slope)
            signs.append(float(made.gradient()))
        assert signs[0] < 0 < signs[1], (sigma_t, sigma_s, signs)


def alternating_descent_converges() -> None:
    """Plain SGD through ``step`` from the denoiser, phi at the teacher."""
    scene = Scene(a=S**2 / (S**2 + 4.0))
    made = scene.design(scene.kappa, lr=0.02)
    method = made.method
    method.optimizers = {
        "student": torch.optim.SGD(method.student.plain.parameters(), lr=1.0),
        "auxiliary": torch.optim.SGD(method.phi.plain.parameters(), lr=1.0),
    }
    for _ in range(500):
        made.play()
        method.step(made.batch)
        made.rig.context.advance()
    close(method.student.plain.gain, 0.27022, 1e-3)


def random_levels_rest_at_the_roots() -> None:
    """One t, many s, the ideal phi for every s; EDM weight, uniform s (and the law at the atom t = 1)."""
    grid, n = KarrasGrid(), 400
    mid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    cases = [
        (0.5, k, a, mid / k + 0.5 - 1 / k)
        for k, a in ((2, 0.19594), (4, 0.16603), (8, 0.09460), (64, 0.04337))
    ]
    cases += [(1.0, k, a, 1 - (1 - mid) / k) for k, a in ((1, 0.0055829), (2, 0.00023455), (8, 7.2733e-5))]
    cases += [
        (1.0, k, a, 1 - (1 - mid.sqrt()) / k) for k, a in ((1, 0.0039053), (2, 0.00013651), (8, 5.9116e-5))
    ]
    for t, _, root, times in cases:
        sigma_s, sigma_t = grid(1 - times), float(grid(torch.tensor(1 - t)))
        signs = []
        for a in (0.997 * root, 1.003 * root):
            scene = Scene(0.5, sigma_t, 1.0, a)
            r = sigma_s**2 / sigma_t**2
            c = r + (1 - r) * a
            slope = (a * c * scene.v / (c**2 * scene.v + sigma_s**2 * (1 - r))).repeat_interleave(4)[:, None]

            made = design(Affine(0.0, a), sigma_s, sigma_t, 0.5)
            meter = made.rig.meter
            ideal = Metered(Formula(lambda x, sigma, slope=slope: slope * x), "phi", meter)
            exact = Metered(Formula(lambda x, sigma: 0.25 / (0.25 + sigma**2) * x), "theta", meter)
            made.method.moments.phi = Auxiliary(ideal, exact)  # type: ignore[arg-type]
            signs.append(float(made.gradient()))
        assert signs[0] < 0 < signs[1], (t, root, signs)


class Noisy(Oracle):
    """``x_hat = a z + tau zeta`` with zeta an orthogonal column."""

    def __init__(self, a: float, tau: float, zeta: Tensor) -> None:
        super().__init__()
        self.gain, self.tau, self.zeta = scalar(a), scalar(tau), zeta

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return self.gain * x + self.tau * self.zeta


def perfect_stochastic_student_is_at_rest() -> None:
    """``a = s^2 / V``, ``tau^2 = s^2 sigma_t^2 / V``: both gradients vanish with phi fitted, at any s < t."""
    x, eps, xi, zeta = columns(8, 4)
    for sigma_s in (0.1, 0.9, 1.9):
        scene = Scene(sigma_s=sigma_s)
        a, tau = S**2 / scene.v, (S**2 * 4.0 / scene.v) ** 0.5
        levels = (torch.full((8,), sigma, dtype=torch.float64) for sigma in (2.0, sigma_s))
        state = Transition(S * x, S * x + 2.0 * eps, xi, *levels, Cond())
        made = scene.design(scene.kappa)
        student = made.method.student = Metered(Noisy(a, tau, zeta), "s", made.rig.meter)  # type: ignore[assignment]
        z, _, _ = state.land(x_hat := state.estimate(student))
        close((x_hat * z).mean() / z.square().mean(), scene.kappa)
        close(z.square().mean(), S**2 + sigma_s**2)
        grads = torch.autograd.grad(made.method.loss(state), list(student.plain.parameters()))
        assert all(abs(float(g)) < 1e-9 for g in grads), grads


PROPERTIES = (
    equal_networks_give_exactly_no_gradient,
    student_gradient_is_the_closed_form,
    auxiliary_optimum_is_halfway,
    student_rests_at_the_root,
    alternating_descent_converges,
    random_levels_rest_at_the_roots,
    perfect_stochastic_student_is_at_rest,
)
