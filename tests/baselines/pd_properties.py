"""What progressive distillation must satisfy, in closed form. Checks take the module under test.

For a Gaussian teacher N(mu, s^2) an Euler step a -> b multiplies x - mu by ``(s^2 + a b) / (s^2 + a^2)``, so
a whole sampler is one number, and a student with one gain per level can equal two steps of its teacher.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from oracles import AffineLadder, Formula, Gaussian, rig
from torch import Tensor

from baselines.datasets.mixtures import ring
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, per_sample
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.samplers import euler
from baselines.losses import truncated_snr_weight
from baselines.streams import SampleNoise, torch_generator
from baselines.teachers.mixture import ExactMixture

GRID = KarrasGrid()
TRIPLES = ((5.0, 2.0, 0.7), (80.0, 40.0, 3.0), (1.0, 0.5, 0.0))


def close(found: Any, expected: Any, tolerance: float) -> None:
    found, expected = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (found, expected))
    error = float((found - expected).abs().max())
    assert error <= tolerance, f"largest error {error:g}, allowed {tolerance:g}"


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(seed, "train-noise"), dtype=torch.float64)


def levels(*values: float, count: int) -> list[Tensor]:
    return [torch.full((count,), value, dtype=torch.float64) for value in values]


def multiplier(denoiser: Denoiser, sigmas: Tensor) -> float:
    """What an Euler sampler multiplies x - mu by."""
    ends = euler(denoiser, torch.tensor([[-1.0], [1.0]], dtype=torch.float64), sigmas)
    return ((ends[1] - ends[0]) / 2).item()


def method_for(pd: ModuleType, teacher: Denoiser, first: int = 4, shape: tuple[int, ...] = (1,)) -> Any:
    """PD on an exact teacher; the student starts as N(0.3, 0.5^2)."""
    made = rig(Gaussian(0.3, 0.5), exact=teacher, shape=shape)
    return pd.ProgressiveDistillation(made.teacher, pd.PDConfig(first=first), made.context)


def two_steps(teacher: Denoiser, x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Two plain Euler steps of the teacher."""
    for here, there in ((a, b), (b, c)):
        ratio = per_sample(there / here, x)
        x = ratio * x + (1 - ratio) * teacher(x, here)
    return x


def check_one_student_step_is_two_teacher_steps(pd: ModuleType) -> None:
    """For any data: Euler a -> c with D := target lands on the teacher's x''."""
    teacher = ExactMixture(ring())
    method = method_for(pd, teacher, shape=(2,))
    for triple in TRIPLES:
        a, b, c = levels(*triple, count=64)
        x = normal(64, 2) * a[0]
        target = method.target(pd.State(x, a, b, c, Cond()))
        ratio = per_sample(c / a, x)
        close(ratio * x + (1 - ratio) * target, two_steps(teacher, x, a, b, c), 5e-15)


def check_target_is_a_convex_mix(pd: ModuleType) -> None:
    """Weights are in [0, 1] and sum to 1; the mix equals the paper's quotient; c = 0 gives D2."""
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for triple in TRIPLES:
        a, b, c = levels(*triple, count=1)
        w1, w2 = pd.convex_target(one, zero, a, b, c), pd.convex_target(zero, one, a, b, c)
        close(w1 + w2, 1.0, 1e-15)
        assert 0 <= w1.item() <= 1 and 0 <= w2.item() <= 1
        x, d1, d2 = normal(8, 1), normal(8, 1, seed=1), normal(8, 1, seed=2)
        after = c / b * (b / a * x + (1 - b / a) * d1) + (1 - c / b) * d2
        quotient = x - a * (after - x) / (c - a)
        close(pd.convex_target(d1, d2, *levels(*triple, count=8)), quotient, 1e-13)
    d1, d2 = normal(8, 1, seed=1), normal(8, 1, seed=2)
    assert torch.equal(pd.convex_target(d1, d2, *levels(4.0, 2.0, 0.0, count=8)), d2)


def check_target_equals_the_variance_preserving_form(pd: ModuleType) -> None:
    """The paper's formula in z = alpha x coordinates, with level sigma / alpha."""
    angles = torch.tensor([1.3, 0.9, 0.4], dtype=torch.float64)
    (al, al1, al2), (si, si1, si2) = angles.cos(), angles.sin()
    z, d1, d2 = normal(8, 1), normal(8, 1, seed=1), normal(8, 1, seed=2)
    z1 = al1 * d1 + si1 / si * (z - al * d1)
    z2 = al2 * d2 + si2 / si1 * (z1 - al1 * d2)
    paper = (z2 - si2 / si * z) / (al2 - si2 / si * al)
    ours = levels(*(float(v) for v in (si / al, si1 / al1, si2 / al2)), count=8)
    close(pd.convex_target(d1, d2, *ours), paper, 1e-14)


def check_initial_loss(pd: ModuleType) -> None:
    """Student = teacher: the loss is ``max(1/a^2, 1) w2^2 (D2 - D1)^2``, mean over pixels and batch."""
    teacher = Gaussian(0.3, 0.5)
    method = method_for(pd, teacher, shape=(3,))
    a, b, c = (torch.tensor(v, dtype=torch.float64) for v in ([5.0, 0.5], [2.0, 0.3], [0.7, 0.2]))
    x = normal(2, 3)
    d1 = teacher(x, a)
    d2 = teacher(x * (b / a)[:, None] + (1 - b / a)[:, None] * d1, b)
    w2 = a * (b - c) / (b * (a - c))
    weight = torch.tensor([1.0, 4.0])
    expected = (weight * w2**2 * ((d2 - d1) ** 2).mean(1)).mean()
    close(method.loss(pd.State(x, a, b, c, Cond())), expected, 1e-14)


def check_loss_weight(pd: ModuleType) -> None:
    """The weight makes the loss the larger of the x error and the epsilon error."""
    method = method_for(pd, Gaussian(0.3, 0.5), shape=(3,))
    a, b, c = (
        torch.tensor(v, dtype=torch.float64) for v in ([5.0, 0.5, 1.0], [2.0, 0.3, 0.9], [0.7, 0.2, 0.0])
    )
    x, error = normal(3, 3), normal(3, 3, seed=1)
    state = pd.State(x, a, b, c, Cond())
    target = method.target(state)
    method.student.plain = Formula(lambda x, sigma: target + error)
    noise_error = (error / a[:, None]) ** 2  # epsilon = (x - x0) / sigma
    expected = torch.maximum((error**2).mean(1), noise_error.mean(1))
    close(method.loss(state), expected.mean(), 1e-14)
    close(truncated_snr_weight(a), (1.0, 4.0, 1.0), 1e-15)


def check_affine_teachers_have_affine_targets(pd: ModuleType) -> None:
    """target = mu + (w1 kappa(a) + w2 kappa(b) rho(a -> b)) (x - mu)."""
    mu, s = 0.3, 0.5
    method = method_for(pd, Gaussian(mu, s))
    for a, b, c in TRIPLES:
        w1, w2 = c * (a - b) / (b * (a - c)), a * (b - c) / (b * (a - c))
        step = (s**2 + a * b) / (s**2 + a**2)
        gain = w1 * s**2 / (s**2 + a**2) + w2 * s**2 / (s**2 + b**2) * step
        x = normal(16, 1) * a
        found = method.target(pd.State(x, *levels(a, b, c, count=16), Cond()))
        close(found, mu + gain * (x - mu), 1e-15 * max(1.0, a))


def distil_exactly(pd: ModuleType, teacher: Denoiser, mean: float, first: int) -> Any:
    """Run the whole ladder, solving every stage in closed form; yields the method after each stage."""
    made = rig(AffineLadder(mean, GRID(torch.arange(first) / first)), exact=teacher)
    method = pd.ProgressiveDistillation(made.teacher, pd.PDConfig(first=first), made.context)
    while True:
        steps = method.ladder[method.stage]
        made.context.batch_size = steps
        made.context.play(torch.arange(steps), torch.ones(steps, 1, dtype=torch.float64))
        state = method.draw_state(made.context.next_batch())
        state = pd.State(state.x.double(), state.a, state.b, state.c, state.cond)
        gains = (method.target(state) - mean) / (state.x - mean)
        student = method.student.plain
        with torch.no_grad():
            student.gains[student.index(state.a)] = gains.flatten()
        yield steps, method
        if steps == 1:
            return
        method.advance()


def check_whole_ladder_reproduces_the_teacher(pd: ModuleType) -> None:
    """Every student lands pointwise where the 1024-step teacher does; one step multiplies by 0.0062326072."""
    teacher = Gaussian(0.3, 0.5)
    noise = SampleNoise(0, range(6), (1,), dtype=torch.float64)
    original = euler(teacher, noise.initial() * 80, GRID.nodes(1024))
    served = []
    for steps, method in distil_exactly(pd, teacher, 0.3, 512):
        network = method.students()[steps].plain
        sample = pd.ProgressiveDistillation.generator({steps: network}, method.config, method.space).sample
        close(sample(noise, Cond(), steps), original, 1e-12)
        served.append(steps)
    assert served == [512 >> k for k in range(10)]
    close(multiplier(network, GRID.nodes(1)), 0.0062326072, 5e-11)
    kept = method.students()
    assert sorted(kept) == [1, 2, 4, 8]
    for steps, network in kept.items():  # what was kept is still what it was
        close(euler(network.plain, noise.initial() * 80, GRID.nodes(steps)), original, 1e-12)


def check_guided_teacher(pd: ModuleType) -> None:
    """(1 + w) D_c - w D_0 of equal-s Gaussians is a Gaussian with mean (1 + w) mu_c - w mu_0."""
    w, guided, plain = 1.5, Gaussian(0.4, 0.5), Gaussian(-0.2, 0.5)
    teacher = Formula(lambda x, sigma: (1 + w) * guided(x, sigma.flatten()) - w * plain(x, sigma.flatten()))
    mean = (1 + w) * 0.4 + w * 0.2
    noise = SampleNoise(0, range(6), (1,), dtype=torch.float64)
    original = euler(Gaussian(mean, 0.5), noise.initial() * 80, GRID.nodes(32))
    for steps, method in distil_exactly(pd, teacher, mean, 16):
        close(euler(method.student.plain, noise.initial() * 80, GRID.nodes(steps)), original, 1e-12)


def check_output_law(pd: ModuleType) -> None:
    """From N(0, 80^2) the sampler gives mu (1 - M) + 80 M z; M over the exact flow has known values."""
    teacher, s = Gaussian(0.3, 0.5), 0.5
    flow = ((s**2 + 0.002**2) / (s**2 + 80**2)) ** 0.5
    known = {18: 0.8540, 64: 0.9566, 256: 0.9890, 1024: 0.9972}
    for steps, ratio in known.items():
        close(multiplier(teacher, GRID.nodes(steps)) / flow, ratio, 6e-5)
    close(multiplier(teacher, GRID.nodes(17)) / flow, 0.8461, 6e-5)
    noise = SampleNoise(0, range(50), (1,), dtype=torch.float64)
    for steps in (1, 4):
        sigmas, gain = GRID.nodes(steps), 1.0
        for a, b in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
            gain *= (s**2 + a * b) / (s**2 + a**2)
        generator = pd.ProgressiveDistillation.generator(
            {steps: teacher}, pd.PDConfig(), rig(teacher).teacher.space
        )
        close(generator.sample(noise, Cond(), steps), 0.3 * (1 - gain) + 80 * gain * noise.initial(), 1e-12)


def check_levels_are_nodes_of_the_teachers_ladder(pd: ModuleType) -> None:
    """(a, b, c) at node i of N are nodes 2i, 2i+1, 2i+2 of the 2N ladder, bit for bit, for any N."""
    for steps in (1, 2, 3, 7, 8, 64, 100):
        method = method_for(pd, Gaussian(0.3, 0.5))
        method.ladder, method.context.batch_size = [steps], steps
        noise = torch.linspace(-2, 2, steps)[:, None]
        method.context.play(torch.arange(steps), noise)
        state = method.draw_state(method.context.next_batch())
        fine = GRID(torch.arange(2 * steps + 1, dtype=torch.float64) / (2 * steps))
        for found, expected in ((state.a, fine[:-1:2]), (state.b, fine[1::2]), (state.c, fine[2::2])):
            assert torch.equal(found, expected)
        close(state.c[-1], 0.002, 1e-15)
        close(state.x, state.a[:, None].float() * noise, 1e-5)  # the data are zeros


def check_nodes_are_uniform(pd: ModuleType) -> None:
    """Every node of the ladder is drawn, about equally often."""
    method = method_for(pd, Gaussian(0.3, 0.5), first=8)
    method.context.batch_size = 4000
    state = method.draw_state(method.context.next_batch())
    counts = torch.stack([(state.a == level).sum() for level in GRID(torch.arange(8) / 8)])
    assert counts.sum() == 4000 and counts.min() > 400 and counts.max() < 600


def check_target_has_no_gradient(pd: ModuleType) -> None:
    """The target is data even where the states carry a graph."""
    method = method_for(pd, Gaussian(0.3, 0.5))
    x = normal(4, 1).requires_grad_()
    state = pd.State(x, *levels(5.0, 2.0, 0.7, count=4), Cond())
    assert not method.target(state).requires_grad
    method.teacher.denoiser.plain.requires_grad_(True)
    loss = method.loss(pd.State(x.detach(), state.a, state.b, state.c, Cond()))
    teacher = list(method.teacher.denoiser.plain.parameters())
    assert torch.autograd.grad(loss, teacher, allow_unused=True, retain_graph=True) == (None, None)
    student = method.student.plain
    found = torch.autograd.grad(loss, (student.mean, student.std))
    target = method.target(state)
    again = ((student(x.detach(), state.a) - target) ** 2).mean()
    close(torch.stack(found), torch.stack(torch.autograd.grad(again, (student.mean, student.std))), 1e-15)


def check_two_point_data_stay_in_the_box(pd: ModuleType) -> None:
    """Data +-1: D = tanh(x / sigma^2), so targets never leave [-1, 1]."""
    method = method_for(pd, Formula(lambda x, sigma: (x / sigma**2).tanh()), first=64)
    method.context.batch_size = 64
    sign = torch.where(torch.arange(64) % 3 == 0, 1.0, -1.0)[:, None].double()
    for stage in range(len(method.ladder)):
        method.ladder = [64 >> stage]
        node = torch.arange(64) % method.ladder[0]
        method.context.play(node, normal(64, 1))
        state = method.draw_state(method.context.next_batch())
        target = method.target(pd.State(state.x + sign, state.a, state.b, state.c, Cond()))
        assert target.abs().max() <= 1 + 1e-15  # the two weights sum to 1 up to rounding


def check_precision_on_long_ladders(pd: ModuleType) -> None:
    """fp32 target against fp64, 4096 student steps, all nodes: below 1e-6 (the quotient is off by 1.8e-2)."""
    steps, each = 4096, 64
    method = method_for(pd, Gaussian(0.3, 0.5))
    node = torch.arange(steps).repeat_interleave(each).double()
    a, b, c = (GRID((node + half) / steps) for half in (0.0, 0.5, 1.0))
    x = (0.3 + (0.25 + a**2).sqrt() * normal(len(node))).float()[:, None]
    single = method.target(pd.State(x, a, b, c, Cond()))
    double = method.target(pd.State(x.double(), a, b, c, Cond()))
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    close(single, double, 1e-6)


PROPERTIES = [function for name, function in list(globals().items()) if name.startswith("check_")]
