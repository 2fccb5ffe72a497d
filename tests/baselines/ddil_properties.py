"""What the DDIL-style wrapper must satisfy: Gaussian closed forms, thresholds.

Ladder of PD with four steps: 80 / 17.53 / 2.515 / .1698 / .002; data N(mu, s^2), s = .5; Gaussian denoisers
have the gain ``s^2 / (s^2 + sigma^2)``. Latents of +-1 have unit variance, so variances are exact.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from oracles import Affine, AffineLadder, Formula, Gaussian, Rig, ScriptedDraws, rig
from torch import Tensor

from baselines import progressive
from baselines.ddil import DDIL
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.reflection import DynamicBox, Reflected, StaticBox
from baselines.distiller import Batch
from baselines.generators import KarrasLadder
from baselines.progressive import ProgressiveDistillation
from baselines.replay import ReplayBuffer
from baselines.states import join, take
from bench.meter import Metered

LEVELS = KarrasGrid().nodes(4)
SIGNS = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)


def wrapped(teacher: Denoiser, **options: Any) -> tuple[Any, Rig]:
    """DDIL over PD with a four-step ladder, thresholds off unless named; the teacher is an exact one."""
    made = rig(Gaussian(0.0, 0.5), exact=teacher, batch_size=2)
    bound = DDIL.bind(ProgressiveDistillation)
    return bound(made.teacher, bound.Config(**{"first": 4, "reflect": "off", **options}), made.context), made


def put_student(method: Any, made: Rig, net: Denoiser) -> None:
    method.student = Metered(net, "student", made.meter)


def runs(method: Any, teaching: float, *, start: float = 1.0) -> list[Tensor]:
    """x at the four nodes, and after the last step, from the latent +-start."""
    size = len(SIGNS)
    draws = ScriptedDraws([start * SIGNS, *[torch.full((size,), 0.5)] * 3])
    states = method.rollout(Cond(), size, teaching, draws)
    visited = [take(states, slice(size * node, size * (node + 1))) for node in range(4)]
    step = method.student_step if teaching == 0 else lambda state, node, _: method.teacher_step(state, node)
    return [*(state.x for state in visited), step(visited[-1], 3, None)]


def variance(x: Tensor) -> float:
    return float(x.detach().square().mean())


def near(found: float, expected: float, rel: float = 5e-5) -> None:
    assert abs(found - expected) <= rel * abs(expected), (found, expected)


def student_rollouts_have_the_published_law() -> None:
    """Variances, and KL to the data marginals: the shift that training must undo."""
    method, _made = wrapped(Gaussian(0.0, 0.5))
    found = [variance(x) for x in runs(method, 0.0)][1:]
    for value, published in zip(found, (307.31, 6.3897, 0.06771, 0.05458), strict=True):
        near(value, published, 1e-4)
    for value, sigma, published in zip(found, LEVELS[1:], (7.2e-8, 2.05e-4, 0.3291, 0.3700), strict=True):
        marginal = 0.25 + float(sigma) ** 2
        near((value / marginal - 1 - math.log(value / marginal)) / 2, published, 1e-2)


def teacher_rollouts_take_two_steps() -> None:
    method, _made = wrapped(Gaussian(0.0, 0.5))
    fine, expected = KarrasGrid().nodes(8), 80.0
    for node, x in enumerate(runs(method, 1.0)):
        near(variance(x), expected**2, 1e-9)
        if node < 4:
            for a, b in ((fine[2 * node], fine[2 * node + 1]), (fine[2 * node + 1], fine[2 * node + 2])):
                expected *= float((0.25 + a * b) / (0.25 + a**2))


def an_exact_student_shifts_nothing() -> None:
    method, made = wrapped(Gaussian(0.0, 0.5))
    student = AffineLadder(0.0, LEVELS[:-1])
    ratio = LEVELS[1:] / LEVELS[:-1]
    flow = ((0.25 + LEVELS[1:] ** 2) / (0.25 + LEVELS[:-1] ** 2)).sqrt()
    student.gains.data.copy_((flow - ratio) / (1 - ratio))
    put_student(method, made, student)
    for x, sigma in zip(runs(method, 0.0, start=(1 + (0.5 / 80) ** 2) ** 0.5), LEVELS, strict=True):
        near(variance(x), 0.25 + float(sigma) ** 2, 1e-9)


def misspecified_optimum_moves_as_published() -> None:
    """One gain for all nodes: k* = .0011421 at (.6, 0, .4), .0015388 on data, .00054635 on own states."""
    mu, s = 0.3, 0.5
    method, made = wrapped(Gaussian(mu, s))
    put_student(method, made, Gaussian(mu, s))
    own = runs(method, 0.0)[:4]
    node = torch.arange(4).repeat_interleave(4)
    h = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    x = mu + s * h[:, :1].repeat(4, 1) + LEVELS[node][:, None] * h[:, 1:].repeat(4, 1)
    data = method.state_at(x, node, Cond())
    student = method.state_at(torch.cat(own), torch.arange(4).repeat_interleave(2), Cond())
    put_student(method, made, Affine(mu, 0.0))
    for share, published in ((0.6, 0.0011421), (1.0, 0.0015388), (0.0, 0.00054635)):
        gradients = []
        for gain in (0.0, 1.0):
            method.student.plain.gain.data.fill_(gain)
            loss = share * method.loss(data) + (1 - share) * method.loss(student)
            (grad,) = torch.autograd.grad(loss, [method.student.plain.gain])
            gradients.append(float(grad))
        near(gradients[0] / (gradients[0] - gradients[1]), published)


def labels_depend_on_the_state_only() -> None:
    """A data state fed through the replay path has the same target, which lands as two teacher steps do."""
    method, made = wrapped(Formula(lambda x, sigma: (x / (1 + sigma**2)).tanh()))
    x = torch.randn(4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = method.state_at(x, torch.arange(4), Cond(label=torch.arange(4)))
    buffer = ReplayBuffer(2)
    buffer.push(state)
    rows = torch.tensor([2, 0, 3, 1])
    again = buffer.draw(4, ScriptedDraws([rows]))
    assert torch.equal(again.cond.label, rows) and torch.equal(again.x, x[rows])
    assert torch.equal(method.target(again), method.target(state)[rows])
    teacher = made.teacher.denoiser
    d1 = teacher(state.x, state.a)
    middle = d1 + (state.b / state.a)[:, None] * (state.x - d1)
    d2 = teacher(middle, state.b)
    assert torch.allclose(
        method.teacher_step(state, 0), d2 + (state.c / state.b)[:, None] * (middle - d2), rtol=1e-12
    )


def mixed_rollouts_interpolate() -> None:
    """Independent choices per sample and step: the variance is the product of mixed squared multipliers."""
    method, _ = wrapped(Gaussian(0.0, 0.5))
    grid, size = KarrasGrid().nodes(8), 40_000
    generator = torch.Generator().manual_seed(0)
    latent = torch.ones(size, 1, dtype=torch.float64)
    script = [latent, *(torch.rand(size, generator=generator) for _ in range(3))]
    states = method.rollout(Cond(), size, 0.3, ScriptedDraws(script))
    expected = 80.0**2
    for node in range(4):
        near(variance(states.x[size * node : size * (node + 1)]), expected, 3e-2)
        if node < 3:
            a, b, c = grid[2 * node : 2 * node + 3]
            teacher = (0.25 + a * b) / (0.25 + a**2) * (0.25 + b * c) / (0.25 + b**2)
            student = (0.25 + a * c) / (0.25 + a**2)
            expected *= float(0.3 * teacher**2 + 0.7 * student**2)


def static_projection() -> None:
    box, generator = StaticBox(1.0), torch.Generator().manual_seed(0)
    x_hat = 2 * torch.randn(500, 3, generator=generator, dtype=torch.float64)
    x = 2 * torch.rand(500, 3, generator=generator, dtype=torch.float64) - 1
    assert torch.equal(box(box(x_hat)), box(x_hat))
    assert torch.equal(box(x), x)
    assert bool(((box(x_hat) - x).norm(dim=1) <= (x_hat - x).norm(dim=1)).all())
    assert torch.equal(StaticBox(math.inf)(x_hat), x_hat)


def dynamic_projection() -> None:
    box, generator = DynamicBox(1.0, 0.9), torch.Generator().manual_seed(0)
    x = 3 * torch.randn(20, 64, generator=generator, dtype=torch.float64)
    assert torch.equal(box(2 * x), box(x))  # scale does not matter above the bound
    assert torch.equal(box(x)[:1], box(x[:1]))  # nor do other samples
    assert float(box(x).abs().max()) <= 1 + 1e-12
    quantile = x[0].abs().quantile(0.9)
    assert torch.allclose(box(x)[0], x[0].clamp(-quantile, quantile) / quantile)
    small = x / x.abs().amax(1, keepdim=True)
    assert torch.equal(box(small), small)
    spiky = small.clone()
    spiky[:, 0] = 5.0
    assert torch.equal(box(spiky), StaticBox(1.0)(spiky))  # quantile below the bound: the static clip


def guided_two_point_data() -> None:
    """Unguided tanh stays; guidance (w = 3, sigma = .7) leaves the box and is clipped after combining."""
    x = torch.tensor([[-3.0], [0.0], [2.0]], dtype=torch.float64)
    plain = Formula(lambda x, sigma: (x / sigma**2).tanh())
    guided = Formula(lambda x, sigma: 4.0 - 3 * (x / sigma**2).tanh())
    box = StaticBox(1.0)
    assert torch.equal(Reflected(plain, box)(x, 0.7), plain(x, 0.7))
    assert torch.allclose(guided(x, 0.7).flatten(), torch.tensor([7.0, 4.0, 1.0017]).double(), atol=5e-5)
    assert torch.equal(Reflected(guided, box)(x, 0.7), torch.ones_like(x))


def reflected_output_is_bounded() -> None:
    """Any network: |x| <= (1 - q) c + q |x_last|, q = sigma_min / sigma_last; raw outputs fit them."""
    wild = Formula(lambda x, sigma: 1e3 * (7 * x).sin() + 100)
    options = {"first": 4, "reflect": "static"}
    bound = DDIL.bind(ProgressiveDistillation)
    generator = bound.generator({4: wild}, bound.Config(**options), rig(wild).teacher.space)
    assert isinstance(generator, KarrasLadder)

    class Latent:
        def initial(self) -> Tensor:
            return torch.linspace(-3, 3, 100, dtype=torch.float64)[:, None]

    x, net = Latent().initial() * 80, generator.students[4]
    for a, b in itertools.pairwise(LEVELS[:-1]):
        d = net(x, float(a), Cond())
        x = d + float(b / a) * (x - d)
    q = float(LEVELS[-1] / LEVELS[-2])
    samples = generator.sample(Latent(), Cond(), 4)  # type: ignore[arg-type]
    assert bool((samples.abs() <= (1 - q) + q * x.abs() + 1e-12).all())
    sigma = torch.full((100,), 0.7, dtype=torch.float64)
    assert torch.allclose(wild.assemble(net.raw(x, sigma), x, sigma), net(x, sigma))


def clipped_labels_unclipped_student() -> None:
    """Targets lie in the box; outside it the student still gets gradient, nobody else does."""
    method, made = wrapped(Formula(lambda x, sigma: 5 * x), reflect="static")
    put_student(method, made, Affine(0.0, 3.0))
    x = torch.tensor([[2.0], [-4.0], [1.5], [9.0]], dtype=torch.float64)
    state = method.state_at(x, torch.arange(4), Cond())
    target = method.target(state)
    assert float(target.abs().max()) <= 1 + 1e-12 and not target.requires_grad
    (grad,) = torch.autograd.grad(method.loss(state), [method.student.plain.gain])
    weight = (1 / LEVELS[:4] ** 2).clamp(min=1)[:, None]
    near(float(grad), float((weight * 2 * (3 * x - target) * x).mean()), 1e-9)
    assert all(p.grad is None for p in made.teacher.net.plain.parameters())


def buffer_is_first_in_first_out() -> None:
    """Rollouts leave whole, oldest first; x and condition stay together; draws are uniform over states."""
    method, _ = wrapped(Gaussian(0.0, 0.5))
    buffer = ReplayBuffer(3)
    for number in range(5):
        label = 10 * number + torch.arange(4)
        buffer.push(method.state_at(label[:, None].double(), torch.arange(4), Cond(label=label)))
    assert len(buffer) == 3
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 12, (12_000,), generator=generator)
    drawn = buffer.draw(12_000, ScriptedDraws([rows]))
    assert torch.equal(drawn.x[:, 0].long(), drawn.cond.label)
    values, counts = drawn.cond.label.unique(return_counts=True)
    assert values.tolist() == [10 * number + i for number in (2, 3, 4) for i in range(4)]
    assert torch.equal(counts, rows.bincount())


def states_join_and_split() -> None:
    method, _ = wrapped(Gaussian(0.0, 0.5))
    x = torch.arange(4.0)[:, None]
    state = method.state_at(x, torch.arange(4), Cond(label=torch.arange(4)))
    mask = torch.tensor([True, False, True, False])
    back = take(join([take(state, mask), take(state, ~mask)]), torch.tensor([0, 2, 1, 3]))
    assert (
        torch.equal(back.x, x)
        and torch.equal(back.a, state.a)
        and torch.equal(back.cond.label, state.cond.label)
    )


def pure_noise_is_where_samplers_start() -> None:
    """Terminal states: N(0, 80^2) in rollouts, s^2 + 80^2 in noised data."""
    method, _made = wrapped(Gaussian(0.0, 0.5))
    near(variance(runs(method, 0.0)[0]), 6400.0, 1e-12)
    x0 = 0.5 * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)
    eps = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    state = method.noised_state(Batch(Cond(), 4, x0), ScriptedDraws([torch.zeros(4, dtype=torch.long), eps]))
    near(variance(state.x), 6400.25, 1e-12)
    assert isinstance(state, progressive.State)


PROPERTIES = (
    student_rollouts_have_the_published_law,
    teacher_rollouts_take_two_steps,
    an_exact_student_shifts_nothing,
    misspecified_optimum_moves_as_published,
    labels_depend_on_the_state_only,
    mixed_rollouts_interpolate,
    static_projection,
    dynamic_projection,
    guided_two_point_data,
    reflected_output_is_bounded,
    clipped_labels_unclipped_student,
    buffer_is_first_in_first_out,
    states_join_and_split,
    pure_noise_is_where_samplers_start,
)
