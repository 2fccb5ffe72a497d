"""LCM against closed forms: Gaussian teacher N(mu, s^2), whose consistency function is affine."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from gaussian_methods import (
    GRID,
    GaussianDenoiser,
    build,
    check_resume,
    run_context,
    small_net,
    train,
)
from impulses import Impulses, moments
from scipy.integrate import solve_ivp
from torch import Tensor, nn

import baselines.lcm as lcm_module
from baselines.datasets.mixtures import Mixture
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import BoundaryScaling, Denoiser, per_sample
from baselines.distances import PseudoHuber, SquaredL2
from baselines.generators import RenoisingSteps
from baselines.lcm import LCM, State
from baselines.streams import torch_generator
from baselines.teachers.mixture import ExactMixture

MU, S, EPS, T = 0.3, 0.5, 0.002, 80.0
SMALL = {"lr": 1e-3}


def level(t: float) -> Tensor:
    return torch.tensor([t], dtype=torch.float64)


def g(t: Tensor | float) -> Tensor | float:
    return (S**2 + t**2) ** 0.5


class Consistency:
    """The exact consistency function of N(mu, s^2): trajectories end at sigma_min."""

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        t = per_sample(sigma, x)
        return MU + (x - MU) * g(EPS) / g(t)


class Chain(Denoiser):
    """Student that is exact for a solver on a grid: f_n(x) = mu + M_n (x - mu), with the solver's factors."""

    def __init__(self, nodes: Tensor, solve) -> None:  # type: ignore[no-untyped-def]
        super().__init__(nn.Identity(), BoundaryScaling())
        self.nodes = nodes
        teacher, one = GaussianDenoiser(MU, S), torch.tensor([[MU + 1.0]], dtype=torch.float64)
        factors = [1.0]
        with torch.no_grad():
            for upper, lower in zip(nodes[:-1].flip(0), nodes[1:].flip(0), strict=True):
                step = solve(teacher, one, upper[None], lower[None], Cond())
                factors.append(factors[-1] * (step.item() - MU))
        self.factors = nn.Parameter(torch.tensor(factors[::-1], dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        node = (
            (self.nodes[:, None] == torch.as_tensor(sigma, dtype=torch.float64).expand(len(x)))
            .double()
            .argmax(0)
        )
        return MU + self.factors[node][:, None] * (x - MU)


def gaussian_teacher_method(net: Denoiser, **config: object) -> LCM:
    """LCM whose teacher is the closed form and whose student and target are copies of ``net``, in fp64."""

    def draw(number: int, size: int) -> tuple[Tensor, Cond]:
        generator = torch_generator(0, "data", number)
        return MU + S * torch.randn(size, 2, generator=generator, dtype=torch.float64), Cond()

    method = build(LCM, {**SMALL, **config}, run_context(draw=draw), small_net(), GaussianDenoiser(MU, S))
    method.student.plain = net
    method.follower.plain = net
    return method


# properties: each raises AssertionError when the method is wrong


def check_boundary() -> None:
    method = build(LCM, {**SMALL})
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
        for network in (method.student, method.follower):
            found = network.plain.to(dtype)(x, method.nodes[-1:].expand(5))
            assert torch.equal(found, x)
            network.plain.to(torch.float32)
    scaling, sigma = BoundaryScaling(0.5, 0.002), level(1.7)
    assert scaling.c_skip(sigma).item() == pytest.approx(0.25 / (1.698**2 + 0.25), rel=1e-14)
    assert scaling.c_out(sigma).item() == pytest.approx(0.5 * 1.698 / math.sqrt(1.7**2 + 0.25), rel=1e-14)
    # the teacher keeps its own scaling, the students start from its weights
    assert type(method.teacher.net.plain.scaling).__name__ == "EDMScaling"
    for network in (method.student, method.follower):
        assert isinstance(network.plain.scaling, BoundaryScaling)
        raw = method.teacher.net.plain.raw(torch.ones(1, 2), 3.0)
        assert torch.equal(network.plain.raw(torch.ones(1, 2), 3.0), raw)


def check_solver_order() -> None:
    """Residual of the exact consistency function: O(h^2) for Euler, O(h^3) for Heun, with known constants."""
    x, teacher, exact = torch.tensor([[1.7]], dtype=torch.float64), GaussianDenoiser(MU, S), Consistency()

    def residual(name: str, t: float, h: float) -> float:
        with torch.no_grad():
            landed = lcm_module.STEPS[name](teacher, x, level(t), level(t - h), Cond())
        return (exact(x, t) - exact(landed, t - h)).item()

    for t in (0.25, 0.5, 1.0, 2.0, 5.0, 10.0):
        for name, low, high in (("euler", 3.99, 4.14), ("heun", 7.99, 8.40)):
            values = [residual(name, t, t / 32 / 2**k) for k in range(3)]
            assert low <= values[0] / values[1] <= high and low <= values[1] / values[2] <= high
    h, t = 0.01, 2.0
    rho = (S**2 + t * (t - h)) / g(t) ** 2
    expected = (1.7 - MU) * g(EPS) / g(t - h) * (g(t - h) / g(t) - rho)
    assert residual("euler", t, h) == pytest.approx(expected, rel=1e-8)
    loss = (expected / (1.7 - MU)) ** 2 * g(t) ** 2  # mean over x ~ N(mu, g^2)
    assert loss == pytest.approx(g(EPS) ** 2 * S**4 * h**4 / (4 * g(t) ** 8), rel=0.03)


def check_zero_loss_student() -> None:
    """A student made of the solver's multipliers has no loss and no gradient; its M_N is known."""
    for name, nodes, ratio in (
        ("euler", 18, 0.8461),
        ("heun", 18, 1.0553),
        ("euler", 40, 0.92973),
        ("heun", 40, 1.00978),
    ):
        config = {"fine": 3 * (nodes - 1), "skip": 3, "solver": name, "distance": "l2"}
        chain = Chain(GRID.nodes(nodes - 1), lcm_module.STEPS[name])
        assert chain.factors[0].item() / (g(EPS) / g(T)) == pytest.approx(ratio, abs=6e-5)
        method = gaussian_teacher_method(chain, **config)
        torch.testing.assert_close(method.nodes, chain.nodes, rtol=1e-12, atol=0)
        method.nodes = chain.nodes
        for _ in range(4):
            loss = method.loss(method.draw_state(method.context.next_batch()))
            assert loss.item() < 1e-25
            (gradient,) = torch.autograd.grad(loss, [chain.factors])
            assert gradient.abs().max() < 1e-10
            method.context.advance()


def check_other_target_has_a_loss() -> None:
    chain = Chain(GRID.nodes(17), lcm_module.STEPS["euler"])
    method = gaussian_teacher_method(chain, fine=51, skip=3, distance="l2")
    method.nodes = chain.nodes
    other = Chain(GRID.nodes(17), lcm_module.STEPS["euler"])
    with torch.no_grad():
        other.factors.mul_(1.1)
    method.follower.plain = other
    state = method.draw_state(method.context.next_batch())
    loss = method.loss(state)
    # d/dtheta of (f_theta - sg f_target)^2 = 2 J^T (f_theta - f_target), nothing through the target
    (gradient,) = torch.autograd.grad(loss, [chain.factors])
    error = chain(state.x, state.upper) - method.target(state)
    node = (chain.nodes[:, None] == state.upper).double().argmax(0)
    expected = torch.zeros_like(gradient).index_add(
        0, node, (2 * error * (state.x - MU)).sum(1) / error.numel()
    )
    assert loss.item() > 1e-4
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-12, atol=1e-15)
    assert other.factors.grad is None


def check_states() -> None:
    """Data noised to an aligned node, the end node excluded; the lower level is the next aligned node."""
    context = run_context(batch_size=2000)
    method = build(LCM, {**SMALL, "fine": 32, "skip": 4}, context)
    batch = context.next_batch()
    state = method.draw_state(batch)
    nodes = GRID.nodes(32)[::4]
    torch.testing.assert_close(nodes, GRID.nodes(8), rtol=1e-12, atol=0)
    assert method.nodes[0].item() == T and method.nodes[-1].item() == EPS and len(method.nodes) == 9
    index = (state.upper[:, None] == nodes).double().argmax(1)
    assert torch.equal(nodes[index], state.upper) and torch.equal(nodes[index + 1], state.lower)
    counts = torch.bincount(index, minlength=9)
    assert counts[8] == 0 and ((counts[:8] - 250) ** 2 / 250).sum() < 24.3  # chi^2, p = 0.001
    noise = (state.x - batch.x0) / per_sample(state.upper, state.x)
    assert noise.mean().abs() < 0.06 and noise.std().item() == pytest.approx(1, abs=0.05)


def check_levels() -> None:
    config = LCM.Config()
    nodes = lcm_module.training_nodes(GRID, config)
    assert len(nodes) == 51
    for steps, index in ((1, [0]), (2, [0, 25]), (4, [0, 12, 25, 37]), (8, [0, 6, 12, 18, 25, 31, 37, 43])):
        assert lcm_module.serving_levels(GRID, config, steps) == nodes[index].tolist()


def check_target_average() -> None:
    """After the optimiser's step the target moves by 1 - mu; mu = 0 copies, mu = 1 keeps."""
    for rate in (0.0, 0.9, 1.0):
        method = build(LCM, {**SMALL, "target_ema": rate})
        old = [p.clone() for p in method.follower.plain.parameters()]
        train(method, 1)
        new = list(method.student.plain.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for was, live, target in zip(old, new, method.follower.plain.parameters(), strict=True):
            torch.testing.assert_close(target.data, rate * was + (1 - rate) * live.data, rtol=1e-6, atol=1e-7)
            assert target.grad is None and not target.requires_grad
            if rate in (0.0, 1.0):
                assert torch.equal(target.data, live.data if rate == 0 else was)
        assert all(p.grad is None for p in method.teacher.net.plain.parameters())


def check_multistep_marginals() -> None:
    """With the exact consistency function every output is N(mu, s^2 + eps^2), for any number of steps."""
    config = LCM.Config()
    sampler = LCM.generator(dict.fromkeys((1, 2, 4, 8), Consistency()), config, run_context().space)
    for steps in (1, 2, 4, 8):
        start = Impulses(steps, MU / T, g(T) / T)  # 80 z ~ N(mu, g(80)^2)
        mean, variance = moments(sampler.sample(start, Cond(), steps))
        assert mean == pytest.approx(MU, rel=1e-12)
        assert variance == pytest.approx(S**2 + EPS**2, rel=1e-12)
    mean, variance = moments(sampler.sample(Impulses(1), Cond(), 1))
    assert mean == pytest.approx(MU * (1 - g(EPS) / g(T)), rel=1e-12)
    assert variance == pytest.approx((T * g(EPS) / g(T)) ** 2, rel=1e-12)


def check_mixture_residuals() -> None:
    """Orders of the residual where the flow map is not affine; ground truth by an adaptive solver."""
    law = Mixture(np.array([[-1.0], [1.0]]), np.array([0.4, 0.6]), 0.5)
    denoise = ExactMixture(law)

    def flow(x: Tensor, t: float) -> np.ndarray:
        def slope(sigma: float, y: np.ndarray) -> np.ndarray:
            state = torch.from_numpy(y)[:, None]
            return ((state - denoise(state, torch.tensor(sigma, dtype=torch.float64))) / sigma)[:, 0].numpy()

        return solve_ivp(slope, (t, EPS), x[:, 0].numpy(), method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]

    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None] * math.sqrt(2)
    truth = flow(x, 1.0)
    expected = {"euler": (3.176e-4, 7.748e-5, 1.914e-5), "heun": (7.798e-6, 9.498e-7, 1.172e-7)}
    for name, values in expected.items():
        for h, value in zip((0.05, 0.025, 0.0125), values, strict=True):
            landed = lcm_module.STEPS[name](
                denoise, x, level(1.0).expand(41), level(1.0 - h).expand(41), Cond()
            )
            assert np.sqrt(np.mean((flow(landed, 1 - h) - truth) ** 2)) == pytest.approx(value, rel=2e-3)


def check_vp_dictionary() -> None:
    """A DDIM step of a VP model is the Euler step in X = z / alpha, sigma / alpha."""
    alpha, sigma, alpha_next, sigma_next = 0.6, 0.8, 0.8, 0.6
    z, teacher = torch.tensor([[0.9], [-2.0]], dtype=torch.float64), GaussianDenoiser(MU, S)
    with torch.no_grad():
        x0 = teacher(z / alpha, sigma / alpha)
        ddim = alpha_next * x0 + sigma_next * (z - alpha * x0) / sigma
        upper, lower = level(sigma / alpha).expand(2), level(sigma_next / alpha_next).expand(2)
        euler = lcm_module.STEPS["euler"](teacher, z / alpha, upper, lower, Cond())
    torch.testing.assert_close(ddim / alpha_next, euler, rtol=1e-14, atol=1e-15)


CHECKS = [
    check_boundary,
    check_solver_order,
    check_zero_loss_student,
    check_other_target_has_a_loss,
    check_states,
    check_levels,
    check_target_average,
    check_multistep_marginals,
    check_mixture_residuals,
    check_vp_dictionary,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_property(check):
    check()


def test_an_affine_student_trained_to_convergence_is_the_solver_not_the_ode():
    """From multipliers of 1 at all nodes, training finds the solver's chain (5 intervals, Euler)."""
    nodes = GRID.nodes(5)
    chain, student = Chain(nodes, lcm_module.STEPS["euler"]), Chain(nodes, lcm_module.STEPS["euler"])
    with torch.no_grad():
        student.factors.fill_(1.0)
    method = gaussian_teacher_method(student, fine=10, skip=2, serves=(1,), distance="l2", target_ema=0.0)
    method.nodes = nodes
    states = [
        State(MU + g(t) * torch.tensor([[1.0]], dtype=torch.float64), t[None], s[None], Cond())
        for t, s in pairwise(nodes)
    ]
    for _ in range(12):  # exact coordinate-wise minimisation, as converged steps of SGD
        for k, state in enumerate(states):
            (gradient,) = torch.autograd.grad(method.loss(state), [student.factors])
            with torch.no_grad():
                student.factors[k] -= gradient[k] / (2 * g(nodes[k]) ** 2)
    torch.testing.assert_close(student.factors, chain.factors, rtol=1e-12, atol=0)
    assert abs(student.factors[0].item() / (g(EPS) / g(T)) - 1) > 0.2


@pytest.mark.parametrize("config", [{}, {"solver": "heun", "distance": "l2", "target_ema": 0.0}])
def test_resume_is_exact(config):
    check_resume(lambda: build(LCM, {**SMALL, **config}))


@pytest.mark.parametrize(("solver", "teacher"), [("euler", 1), ("heun", 2)])
def test_units_per_iteration(solver, teacher):
    method = build(LCM, {**SMALL, "solver": solver})
    train(method, 3)
    units = {"student": 24 * 3, "target": 24, "teacher": 24 * teacher}
    assert method.context.meter.by_role() == units


def test_one_training_serves_all_steps():
    method = build(LCM, SMALL)
    assert LCM.served_nfe(method.config) == (1, 2, 4, 8)
    assert all(network is method.student for network in method.students().values())
    assert LCM.student_scaling(method.config, method.space) == method.student.plain.scaling
    sampler = LCM.generator(method.students(), method.config, method.space)
    assert isinstance(sampler, RenoisingSteps) and sampler.floor == EPS


def test_defaults_and_refused_grids():
    config = LCM.Config()
    assert (config.fine, config.skip, config.target_ema) == (1000, 20, 0.95)
    with pytest.raises(ValueError, match="skip that divides fine"):
        LCM.Config(fine=100, skip=30)
    with pytest.raises(ValueError, match=r"at least 8 \(the most steps served\)"):
        LCM.Config(fine=100, skip=20)
    assert LCM.Config(fine=100, skip=20, serves=(1, 2)).serves == (1, 2)


def test_distances_are_the_configured_objects():
    assert build(LCM, {**SMALL, "distance": "huber"}).distance == PseudoHuber(0.001)
    assert build(LCM, {**SMALL, "distance": "l2"}).distance == SquaredL2()


def test_teacher_is_the_closed_form_where_there_is_one():
    law = Mixture(np.array([[0.0, 0.0]]), np.ones(1), 0.5)
    method = build(LCM, SMALL, exact=ExactMixture(law))
    state = method.draw_state(method.context.next_batch())
    landed = lcm_module.STEPS["euler"](method.teacher.exact, state.x, state.upper, state.lower, state.cond)
    assert torch.equal(method.target(state), method.follower(landed, state.lower, state.cond))


# mutants: plausible mistakes, each of which some property must notice


def slope_at_the_wrong_level(denoiser, x, upper, lower, cond):
    x0 = denoiser(x, lower, cond)
    return x0 + per_sample(lower / upper, x) * (x - x0)


def heun_that_forgets_the_first_slope(denoiser, x, upper, lower, cond):
    proposal = ORIGINAL["euler"](denoiser, x, upper, lower, cond)
    slope = (proposal - denoiser(proposal, lower, cond)) / per_sample(lower, x)
    return x + per_sample(lower - upper, x) * slope


def target_of_the_student(self, state):
    x = self.solve(self.teacher.denoiser, state.x, state.upper, state.lower, state.cond)
    return self.student(x, state.lower, state.cond)


@torch.no_grad()
def target_at_the_upper_level(self, state):
    x = self.solve(self.teacher.denoiser, state.x, state.upper, state.lower, state.cond)
    return self.follower(x, state.upper, state.cond)


def states_with_the_end(self, batch):
    draws = self.context.draws()
    node = draws.integers(1, len(self.nodes), batch.size)
    x = batch.x0 + per_sample(self.nodes[node], batch.x0) * draws.normal(*batch.x0.shape)
    return State(x, self.nodes[node], self.nodes[node - 1], batch.cond)


def states_on_the_fine_grid(self, batch):
    draws, fine = self.context.draws(), self.space.grid.nodes(self.config.fine)
    node = draws.integers(0, len(fine) - self.config.skip, batch.size)
    x = batch.x0 + per_sample(fine[node], batch.x0) * draws.normal(*batch.x0.shape)
    return State(x, fine[node], fine[node + self.config.skip], batch.cond)


def plain_scaling(config, space):
    return BoundaryScaling(space.sigma_data, 0.0)


def swapped_average(average, live, decay):
    ORIGINAL["ema"](average, live, 1 - decay)


def levels_with_the_end(grid, config, steps):
    nodes = lcm_module.training_nodes(grid, config)
    return [float(nodes[k * (len(nodes) - 1) // max(steps - 1, 1)]) for k in range(steps)]


def without_floor(cls, students, config, space):
    return RenoisingSteps(students, lambda n: lcm_module.serving_levels(space.grid, config, n))


ORIGINAL = {"euler": lcm_module.STEPS["euler"], "ema": lcm_module.ema_update}
MUTANTS = {
    "denoiser at the lower level": (lcm_module.STEPS, "euler", slope_at_the_wrong_level),
    "Heun with one slope": (lcm_module.STEPS, "heun", heun_that_forgets_the_first_slope),
    "target from the live student, with gradient": (LCM, "target", target_of_the_student),
    "target at the upper level": (LCM, "target", target_at_the_upper_level),
    "steps upwards": (LCM, "draw_state", states_with_the_end),
    "starts off the aligned grid": (LCM, "draw_state", states_on_the_fine_grid),
    "unshifted scaling": (LCM, "student_scaling", staticmethod(plain_scaling)),
    "average the wrong way round": (lcm_module, "ema_update", swapped_average),
    "sampler that ends at sigma_min": (lcm_module, "serving_levels", levels_with_the_end),
    "renoising without the floor": (LCM, "generator", classmethod(without_floor)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_noticed(monkeypatch, mutant):
    owner, name, replacement = MUTANTS[mutant]
    patch = monkeypatch.setitem if isinstance(owner, dict) else monkeypatch.setattr
    patch(owner, name, replacement)
    for check in CHECKS:
        try:
            check()
        except AssertionError:
            return
    pytest.fail(f"no property notices: {mutant}")
