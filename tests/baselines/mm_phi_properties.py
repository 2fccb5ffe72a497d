"""Moment matching: the infinitesimal step of the instant variant, and the digits of g_phi - g_theta."""

from __future__ import annotations

from typing import Any

import torch
from mm_properties import SCENES, Scene, close
from oracles import OracleContext, rig
from torch import Tensor

from baselines.auxiliary import Auxiliary, InfinitesimalStep
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling, per_sample
from baselines.distiller import Batch
from baselines.moment_matching import MMConfig, MomentMatching
from baselines.networks.mlp import ResidualMLP
from baselines.streams import torch_generator
from bench.meter import Metered


def instant_gradient_is_the_closed_form() -> None:
    """``m = Var(z_s)(b* - kappa_s)``; with Lambda = 1: nu = 2 w m and ``dL/da = w nu c V``."""
    for scene in SCENES:
        made = scene.design(scene.kappa, variant="instant")
        phi: Any = made.method.moments.phi
        phi.follow(made.error())
        nu = 2 * scene.weight * scene.variance * (scene.slope - scene.kappa)
        close(phi.nu["gain"], nu)
        close(made.gradient(), scene.weight * nu * scene.c * scene.v)


def instant_descends_to_the_root() -> None:
    """From below and from above; with the wrong sign of nu it runs away."""
    for start in (0.2, 0.35):
        scene = Scene(a=start)
        made = scene.design(scene.kappa, variant="instant", lr=0.0003)
        made.method.optimizers = {"student": torch.optim.SGD(made.method.student.plain.parameters(), lr=1.0)}
        made.rig.context.next_batch = lambda batch=made.batch: batch  # type: ignore[method-assign,misc]
        for _ in range(150):
            made.play(2)
            made.method.step(made.batch)
        close(made.method.student.plain.gain, 0.27022, 1e-3)


def mlp_design(variant: str) -> tuple[MomentMatching, OracleContext, list[Batch]]:
    net = Denoiser(ResidualMLP(2, 8, 2), EDMScaling(0.5))
    net.model.initialise(torch_generator(1, "init"))  # type: ignore[operator]
    made = rig(net.double(), shape=(2,), batch_size=16)
    method = MomentMatching(
        made.teacher, MMConfig(variant=variant, warmup=0, real_batches=0, clip=1e9), made.context
    )
    generator = torch_generator(0, "train-noise")
    normal = lambda: torch.randn(16, 2, generator=generator, dtype=torch.float64)  # noqa: E731
    with torch.no_grad():
        for p in method.student.plain.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    batches = [Batch(Cond(), 16, normal()) for _ in range(2)]
    uniforms = [torch.rand(16, generator=generator) for _ in range(4)]
    made.context.play(*uniforms[:2], normal(), normal(), *uniforms[2:], normal(), normal())
    return method, made.context, batches


def instant_is_the_first_step_of_alternating() -> None:
    """One SGD step of phi of size lambda on batch A; the student's gradient on B over lambda, lambda -> 0."""
    method, _, (a, b) = mlp_design("instant")
    step: Any = method.moments.phi
    step.follow(method.error(a, lambda state: state.estimate(method.student), step))
    expected = torch.autograd.grad(method.loss(method.draw_state(b)), list(method.student.plain.parameters()))
    errors = []
    for rate in (1e-4, 1e-6):
        method, _, (a, b) = mlp_design("alternating")
        method.optimizers["auxiliary"] = torch.optim.SGD(method.phi.plain.parameters(), lr=rate)
        method.moments.update(a)
        grads = torch.autograd.grad(
            method.loss(method.draw_state(b)), list(method.student.plain.parameters())
        )
        wrong = sum(float((g / rate - e).square().sum()) for g, e in zip(grads, expected, strict=True))
        errors.append((wrong / sum(float(e.square().sum()) for e in expected)) ** 0.5)
    assert errors[1] < 1e-3, errors
    assert 30 < errors[0] / errors[1] < 300, errors  # proportional to lambda


def instant_descends_the_norm_of_the_moments() -> None:
    """On an MLP, one batch for both: the gradient is that of ``m Lambda m``, where ``nu = 2 Lambda m``.

    m is half of what the teacher's own loss descends in theta, with z_s constant; Lambda is 1 or Adam's.
    """
    for measured in (False, True):
        method, context, (batch, _) = mlp_design("instant")
        step, draws = InfinitesimalStep(method.phi, int(measured)), context.script
        assert draws is not None
        once = draws.script[:4]
        if measured:
            context.play(*once)
            step.measure(method.error(batch, lambda state: state.x0, step))
        context.play(*once)
        state = method.draw_state(batch)
        x_hat = state.estimate(method.student)
        errors = method.weigh(state, step.error(x_hat, *state.land(x_hat)))
        theta, student = list(step.weights.values()), list(method.student.plain.parameters())
        grads = torch.autograd.grad(errors, theta, create_graph=True)
        metric = [1 / (step.squares[n].sqrt() + 1e-8) if measured else 1.0 for n in step.weights]
        terms = [(grad**2 / 4 * scale).sum() for grad, scale in zip(grads, metric, strict=True)]
        expected = torch.autograd.grad(torch.stack(terms).sum(), student)

        method.moments.phi = step
        context.play(*once)
        step.follow(method.error(batch, method.predict, step))
        context.play(*once)
        found = torch.autograd.grad(method.loss(method.draw_state(batch)), student)
        size = max(float(e.abs().max()) for e in expected)
        assert size > 0
        wrong = max(float((f - e).abs().max()) for f, e in zip(found, expected, strict=True))
        assert wrong < 1e-11 * size, (measured, wrong / size)


def weight_derivative_is_a_finite_difference() -> None:
    method, _, _ = mlp_design("instant")
    net, generator = method.phi.plain, torch_generator(2, "init")
    direction = {
        n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in net.named_parameters()
    }
    x, sigma = (
        torch.randn(5, 2, generator=generator, dtype=torch.float64),
        torch.linspace(0.1, 5, 5, dtype=torch.float64),
    )
    derivative, values = method.phi.jvp(direction, x, sigma), []
    for sign in (1, -1):
        with torch.no_grad():
            for n, p in net.named_parameters():
                p.add_(sign * 1e-5 * direction[n])
            values.append(net(x, sigma))
            for n, p in net.named_parameters():
                p.sub_(sign * 1e-5 * direction[n])
    assert torch.allclose(derivative, (values[0] - values[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def difference_keeps_its_digits() -> None:
    """fp32 at sigma = .002: relative error of ``g_phi - g_theta`` against fp64 on the same raw outputs."""
    generator = torch_generator(3, "init")
    f = torch.randn(256, 1, generator=generator)
    gap = 1e-3 * torch.randn(256, 1, generator=generator)
    z, sigma = 0.5 * torch.randn(256, 1, generator=generator), torch.full((256,), 0.002)

    class Raw(Denoiser):
        def __init__(self, value: Tensor) -> None:
            super().__init__(torch.nn.Identity(), EDMScaling(0.5))
            self.value = value

        def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
            return self.value

    phi, theta = f + gap, f
    made = rig(Raw(theta))
    pair = Auxiliary(Metered(Raw(phi), "phi", made.meter), made.teacher.net)  # type: ignore[arg-type]
    found = pair.difference(z, sigma, Cond()).double()
    exact = EDMScaling(0.5).c_out(per_sample(sigma, z).double()) * (phi.double() - theta.double())
    assert float((found - exact).norm() / exact.norm()) < 1e-6


PROPERTIES = (
    instant_gradient_is_the_closed_form,
    instant_descends_to_the_root,
    instant_is_the_first_step_of_alternating,
    instant_descends_the_norm_of_the_moments,
    weight_derivative_is_a_finite_difference,
    difference_keeps_its_digits,
)
