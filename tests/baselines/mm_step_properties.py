"""How moment matching's training step must behave, on a small network."""

from __future__ import annotations

from typing import Any

import torch
from oracles import Formula, Rig, rig
from torch import Tensor

from baselines.auxiliary import InfinitesimalStep
from baselines.datasets.mixtures import ring
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.tangent import weight_derivative
from baselines.moment_matching import MMConfig, MomentMatching
from baselines.networks.mlp import ResidualMLP
from baselines.networks.song_unet import SongUNet
from baselines.streams import torch_generator

OPTIONS: dict[str, dict[str, Any]] = {
    "alternating": {"variant": "alternating", "warmup": 0, "lr": 1e-3},
    "instant": {"variant": "instant", "warmup": 0, "lr": 1e-3, "real_batches": 2},
}


def small_rig(**options: Any) -> Rig:
    net = Denoiser(ResidualMLP(2, 16, 2), EDMScaling(0.5))
    net.model.initialise(torch_generator(0, "init"))  # type: ignore[operator]
    return rig(net, shape=(2,), batch_size=8, draw=lambda n, size: ring().batch(0, n, size), **options)


def method_on(made: Rig, variant: str = "alternating", **options: Any) -> MomentMatching:
    return MomentMatching(made.teacher, MMConfig(**{**OPTIONS[variant], **options}), made.context)


def train(made: Rig, method: MomentMatching, iterations: int) -> list[dict[str, Any]]:
    logs = []
    for _ in range(iterations):
        logs.append(method.step(made.context.next_batch()))
        made.context.advance()
    return logs


def weights(made: Rig) -> dict[str, Tensor]:
    nets = {**made.context.networks, "teacher": made.teacher.net}
    return {
        role: torch.cat([p.detach().flatten() for p in net.plain.parameters()]).clone()
        for role, net in nets.items()
    }


def even_steps_move_phi_and_odd_ones_the_student() -> None:
    made = small_rig()
    method = method_on(made)
    for iteration in range(6):
        before = weights(made)
        train(made, method, 1)
        after = weights(made)
        moved = {role for role in after if not torch.equal(before[role], after[role])}
        assert moved == ({"student"} if iteration % 2 else {"auxiliary"}), (iteration, moved)
        assert all(p.grad is None for p in made.teacher.net.plain.parameters())


def instant_moves_the_student_only() -> None:
    made = small_rig()
    method = method_on(made, "instant")
    for iteration in range(5):
        before = weights(made)
        train(made, method, 1)
        moved = {role for role, w in weights(made).items() if not torch.equal(before[role], w)}
        assert moved == (set() if iteration < 2 else {"student"}), (iteration, moved)


def instant_compares_two_batches() -> None:
    """nu and the loss see different data and different noise."""
    made = small_rig()
    method, seen = method_on(made, "instant", real_batches=0), []
    draw = method.pairs.draw

    class Spy:
        def draw(self, x0: Tensor, cond: Cond, draws: Any) -> Any:
            seen.append((x0, state := draw(x0, cond, draws)))
            return state

    method.pairs = Spy()  # type: ignore[assignment]
    train(made, method, 1)
    (first, one), (second, other) = seen
    assert not torch.equal(first, second) and not torch.equal(one.noise, other.noise)


def units_are_as_documented() -> None:
    for variant, expected in (("alternating", [5, 5, 5, 5]), ("instant", [3, 3, 10, 10])):
        made = small_rig()
        method, spent = method_on(made, variant), []
        for _ in expected:
            before = made.context.work
            train(made, method, 1)
            spent.append((made.context.work - before) / 8)
        assert spent == expected, (variant, spent)


def resumes_bit_for_bit() -> None:
    """7 steps are 3 steps, a save, a load and 4 steps; also while Lambda is being measured."""
    for variant, options in (("alternating", {}), ("instant", {}), ("instant", {"real_batches": 5})):
        whole = small_rig(budget=1000.0)
        train(whole, method_on(whole, variant, **options), 7)
        first = small_rig(budget=1000.0)
        method = method_on(first, variant, **options)
        train(first, method, 3)
        second = small_rig(budget=1000.0)
        resumed = method_on(second, variant, **options)
        second.context.load_state_dict(first.context.state_dict())
        resumed.load_extra_state(method.extra_state())
        train(second, resumed, 4)
        for role, values in weights(whole).items():
            assert torch.equal(values, weights(second)[role]), (variant, options, role)
        assert whole.context.work == second.context.work


def first_student_step_is_nothing_after_warm_up_from_zero() -> None:
    """Rate 0 at iteration 0 leaves phi at theta, so iteration 1 gives exactly no gradient (public code)."""
    made = small_rig()
    method = method_on(made, warmup=1)
    before = weights(made)
    train(made, method, 2)
    assert all(torch.equal(before[role], w) for role, w in weights(made).items())
    train(made, method, 2)
    assert not torch.equal(before["student"], weights(made)["student"])


def rate_warms_up_and_falls_to_zero() -> None:
    made = small_rig(budget=400.0)
    method, rates = method_on(made, warmup=4, lr=1.0), []
    for _ in range(10):
        expected = min(1.0, made.context.iteration / 4) * (1 - made.context.work / 400)
        train(made, method, 1)
        rates.append((method.optimizers["student"].param_groups[0]["lr"], expected))
    assert all(abs(rate - expected) < 1e-12 for rate, expected in rates), rates
    assert rates[0][0] == 0


def closed_form_teachers_are_evaluated_but_not_differentiated() -> None:
    """Alternating compares with ``teacher.exact``; instant, which needs weights, with ``teacher.net``."""
    calls = []

    def exact(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(len(x))
        return 0.1 * x

    for variant, expected in (("alternating", 4), ("instant", 0)):
        calls.clear()
        made = small_rig(exact=Formula(exact))
        train(made, method_on(made, variant), 4)
        assert len(calls) == expected, (variant, calls)


def lambda_is_adams() -> None:
    """``nu = -g / (sqrt(mean g_i^2) + 1e-8)``."""
    made = small_rig()
    step = InfinitesimalStep(made.context.network("probe", made.teacher.net), 3)
    generator, grads = torch_generator(5, "data"), []
    x = [torch.randn(8, 2, generator=generator) for _ in range(4)]

    def loss(x0: Tensor) -> Tensor:
        return step.error(x0, x0 + 1.0, torch.tensor(1.0), Cond()).mean()

    for batch in x[:3]:
        step.measure(loss(batch))
        grads.append(step.gradient(loss(batch))["model.out.weight"])
    step.follow(loss(x[3]))
    g = step.gradient(loss(x[3]))["model.out.weight"]
    v = torch.stack(grads).square().mean(0)
    assert torch.allclose(step.nu["model.out.weight"], -g / (v.sqrt() + 1e-8), rtol=1e-5)


def weight_derivative_passes_attention() -> None:
    unet = SongUNet(8, 1, model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(4,))
    net, generator = Denoiser(unet, EDMScaling(0.5)).double().eval(), torch_generator(0, "init")
    named = dict(net.named_parameters())
    for p in named.values():
        p.data.copy_(0.1 * torch.randn(p.shape, generator=generator))
    direction = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in named.items()}
    x = torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    derivative, ends = weight_derivative(net, direction, x, 0.7), []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for n, p in named.items():
                p.add_(step * direction[n])
            ends.append(net(x, 0.7))
    expected = (ends[0] - ends[1]) / 2e-5
    assert float((derivative - expected).norm() / expected.norm()) < 1e-5


PROPERTIES = (
    even_steps_move_phi_and_odd_ones_the_student,
    instant_moves_the_student_only,
    instant_compares_two_batches,
    units_are_as_documented,
    resumes_bit_for_bit,
    first_student_step_is_nothing_after_warm_up_from_zero,
    rate_warms_up_and_falls_to_zero,
    closed_form_teachers_are_evaluated_but_not_differentiated,
    lambda_is_adams,
    weight_derivative_passes_attention,
)
