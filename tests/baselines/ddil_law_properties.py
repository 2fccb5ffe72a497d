"""Laws of the DDIL-style wrapper: shares of its sources, age of rollouts, mixed rollouts, where it rests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from ddil_properties import LEVELS, SIGNS, near, put_student, runs, wrapped
from ddil_step_properties import BASES, BATCH, make
from oracles import Affine, AffineLadder, Formula, Gaussian, ScriptedDraws, rig
from torch import Tensor

from baselines.ddil import DDIL, NAMES
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.reflection import Reflected, StaticBox
from baselines.diffusion.samplers import euler
from baselines.diffusion.vp import EpsilonScaling, TimestepGrid, VPSchedule, scaled_linear
from baselines.distiller import Batch, Teacher
from baselines.dmd2 import DMD2
from baselines.lcm import LCM
from baselines.networks.mlp import ResidualMLP
from baselines.replay import ReplayBuffer
from baselines.states import STUDENT, TEACHER, StateDistiller
from baselines.streams import torch_generator

MU, S = 0.3, 0.5
HADAMARD = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)


def still(base: type[StateDistiller]) -> type[StateDistiller]:
    """The base method with the same states at every draw: where they come from is all that is counted."""

    class Still(base):  # type: ignore[valid-type,misc]
        def draw_state(self, batch: Batch) -> Any:
            node = torch.zeros(batch.size, dtype=torch.long)
            self.states = self.state_at(batch.x0, node, batch.cond)
            return self.states

    return Still


def sources_have_the_law_of_the_schedule() -> None:
    """Counts of 1e5 rows are multinomial: chi^2 below its 0.999 quantile (two degrees of freedom)."""
    rows = 100_000
    batch = Batch(Cond(), rows, torch.zeros(rows, 2))
    for base in tuple(BASES):
        method, made = make(base, budget=1e9, ramp=0.5, kind=still(base))
        method.foreign = lambda *_, method=method: method.states
        for spent in (0.1, 0.3, 1.0):
            method.spent = lambda spent=spent: spent
            method.draw_state(batch)
            made.context.advance()
            at_first, at_last = method.config.start, method.config.end
            u = min(1.0, spent / 0.5)
            shares = [(1 - u) * a + u * b for a, b in zip(at_first, at_last, strict=True)]
            counts = [method.counts[f"from_{name}"] for name in NAMES]
            assert sum(counts) == rows
            square = sum((n - rows * p) ** 2 / (rows * p) for n, p in zip(counts, shares, strict=True) if p)
            assert square < 13.8, (base, spent, counts, shares)


def rollouts_are_no_older_than_the_buffer() -> None:
    """States are at most ``capacity * refresh - 1`` iterations old, and some are as old as that."""
    capacity, refresh = 3, 4
    method, made = wrapped(
        Gaussian(0.0, S), start=(0.0, 0.5, 0.5), end=(0.0, 0.5, 0.5), capacity=capacity, refresh=refresh
    )
    made.context.batch_size = 64
    rollout = method.rollout

    def dated(cond: Cond, size: int, *rest: Any) -> Any:
        states = rollout(cond, size, *rest)
        return replace(states, cond=Cond(label=torch.full((len(states.x),), made.context.iteration)))

    method.rollout = dated
    native = method.noised_state
    method.noised_state = lambda batch, draws: replace(
        native(batch, draws), cond=Cond(label=torch.full((batch.size,), made.context.iteration))
    )
    oldest = 0
    for iteration in range(10 * refresh):
        labels = method.draw_state(made.context.next_batch()).cond.label
        age = iteration - int(labels.min())
        assert age <= capacity * refresh - 1, (iteration, age)
        oldest = max(oldest, age)
        made.context.advance()
    assert oldest == capacity * refresh - 1, oldest


def ends_of_mixed_rollouts() -> None:
    """A chance of 1 is the teacher's run and of 0 the student's, bit for bit, whatever is drawn."""
    method, made = wrapped(Gaussian(MU, S))
    put_student(method, made, Affine(MU, 0.4))
    edge = float(torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)))
    for chance, drawn in ((1.0, edge), (1.0, 0.0), (0.0, 0.0), (0.0, edge)):
        states = method.rollout(Cond(), 2, chance, ScriptedDraws([SIGNS, *[torch.full((2,), drawn)] * 3]))
        x = SIGNS * 80.0
        for node in range(4):
            found = states.x[2 * node : 2 * node + 2]
            assert torch.equal(found, x), (chance, drawn, node)
            state = method.state_at(x, torch.full((2,), node), Cond())
            teacher, student = method.teacher_step(state, node), method.student_step(state, node, None)
            assert not torch.isclose(teacher, student).any()
            x = teacher if chance else student


def mixed_option_reaches_the_students_rollouts() -> None:
    """With ``mixed`` = 1 the student's rollouts are the teacher's; without it they are its own."""
    for mixed in (0.0, 1.0):
        method, made = wrapped(Gaussian(MU, S), mixed=mixed)
        put_student(method, made, Affine(MU, 0.4))
        script = [SIGNS, *[torch.full((2,), 0.5)] * 3, torch.arange(8)]
        batch = Batch(Cond(), 2, torch.zeros(2, 1))
        found = []
        for source in (TEACHER, STUDENT):
            method.foreign(source, batch, ScriptedDraws([*script[:-1], torch.tensor([0, 1])]))
            found.append(method.buffers[source].rollouts[0].x)
        assert torch.equal(*found) == bool(mixed)


def hadamard_data(method: Any) -> Any:
    """Data N(mu, s^2) noised to all four nodes, four equally likely rows each: exact for quadratic losses."""
    node = torch.arange(4).repeat_interleave(4)
    x = MU + S * HADAMARD[:, :1].repeat(4, 1) + LEVELS[node][:, None] * HADAMARD[:, 1:].repeat(4, 1)
    return method.state_at(x, node, Cond())


def student_states(method: Any, start: float = 1.0) -> Any:
    """The student's own run, two equally likely rows at each node."""
    node = torch.arange(4).repeat_interleave(2)
    return method.state_at(torch.cat(runs(method, 0.0, start=start)[:4]), node, Cond())


def exact_students_have_one_loss() -> None:
    """Without covariate shift (exact flow, started at the marginal) data and own states cost the same."""
    method, made = wrapped(Gaussian(0.0, S))
    student = AffineLadder(0.0, LEVELS[:-1])
    ratio = LEVELS[1:] / LEVELS[:-1]
    flow = ((0.25 + LEVELS[1:] ** 2) / (0.25 + LEVELS[:-1] ** 2)).sqrt()
    student.gains.data.copy_((flow - ratio) / (1 - ratio))
    put_student(method, made, student)
    own = student_states(method, start=(1 + (S / 80) ** 2) ** 0.5)
    data = hadamard_data(method)
    centred = replace(data, x=data.x - MU)
    losses = [float(method.loss(state).detach()) for state in (centred, own)]
    assert losses[0] > 1e-6
    near(losses[1], losses[0], 1e-9)
    put_student(method, made, Gaussian(0.0, S))  # a student with a shift pays another price
    losses = [float(method.loss(state).detach()) for state in (centred, student_states(method))]
    assert abs(losses[1] / losses[0] - 1) > 0.05, losses


def realisable_optimum_knows_no_shares() -> None:
    """One gain a node, ``w1 k(a) + w2 k(b) rho(a -> b)``: no gradient, for every mixture of the sources."""
    method, made = wrapped(Gaussian(MU, S))
    own, data = student_states(method), hadamard_data(method)
    student = AffineLadder(MU, LEVELS[:-1])
    a, b, c = (level[::4] for level in (data.a, data.b, data.c))
    once, twice = 0.25 / (0.25 + a**2), 0.25 / (0.25 + b**2) * (0.25 + a * b) / (0.25 + a**2)
    gains = (c * (a - b) * once + a * (b - c) * twice) / (b * (a - c))
    put_student(method, made, student)
    for factor, rests in ((1.0, True), (1.01, False)):
        student.gains.data.copy_(factor * gains)
        for state in (data, own):
            (grad,) = torch.autograd.grad(method.loss(state), [student.gains])
            assert bool((grad.abs() < 1e-9).all()) == rests, (factor, grad)


def labels_of_replayed_states() -> None:
    """LCM and DMD2: a data state that went through the buffer has the same target, or loss and gradient."""
    for base in (LCM, DMD2):
        method, made = make(base, reflect="off")
        state = method.noised_state(made.context.next_batch(), made.context.draws("rollout"))
        buffer = ReplayBuffer(1)
        buffer.push(state)
        again = buffer.draw(BATCH, ScriptedDraws([torch.arange(BATCH)]))
        if base is LCM:
            assert torch.equal(method.target(again), method.target(state))
            continue
        found = []
        for s in (state, again):
            made.context._draws.clear()  # the loss's own noise, once more
            loss = method.loss(s)
            found.append(torch.autograd.grad(loss, list(method.student.plain.parameters())))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
        assert any(grad.any() for grad in found[0])


def jumps_from_own_states() -> None:
    """LCM at the student's own states: the target is the follower after one DDIM step to the next node."""
    method, made = make(LCM, reflect="off")
    states = method.rollout(Cond(), BATCH, 0.0, made.context.draws("rollout"))
    nodes = method.nodes
    index = (states.upper[:, None] == nodes).double().argmax(1)
    assert torch.equal(nodes[index], states.upper) and torch.equal(nodes[index + 1], states.lower)
    assert len(states.upper.unique()) == 4
    x0 = made.teacher.denoiser(states.x, states.upper, Cond())
    landed = x0 + (states.lower / states.upper)[:, None].to(x0.dtype) * (states.x - x0)
    torch.testing.assert_close(method.target(states), method.follower(landed, states.lower, Cond()))


def clean_outputs_are_in_the_box() -> None:
    """A ladder that ends at 0 returns an estimate: no network leaves the box."""
    wild = Formula(lambda x, sigma: 1e3 * (7 * x).sin() + 100)
    x = 80 * torch.linspace(-3, 3, 100, dtype=torch.float64)[:, None]
    for bound in (1.0, 0.25):
        found = euler(Reflected(wild, StaticBox(bound)), x, LEVELS.new_tensor([*LEVELS[:-1].tolist(), 0.0]))
        assert float(found.abs().max()) <= bound
    assert float(euler(wild, x, LEVELS.new_tensor([*LEVELS[:-1].tolist(), 0.0])).abs().max()) > 1


def terminal_states_on_timesteps() -> None:
    """At timestep 999 rollouts start from N(0, I); noised data have ``1 + alpha_bar (Var x0 - 1)``."""
    process = TimestepGrid(EpsilonScaling(VPSchedule.of_rates(scaled_linear(0.00085, 0.012, 1000))))
    network = ResidualMLP(1, 8, 1).initialise(torch_generator(0, "init"))
    made = rig(Denoiser(network, EDMScaling(0.5)).double(), batch_size=4)
    made.context.space = replace(
        made.teacher.space, process=process, sigma_min=process.sigma_min, sigma_max=process.sigma_max
    )
    teacher = Teacher(made.context.space, made.teacher.net)
    bound: Any = DDIL.bind(LCM)
    method = bound(teacher, bound.Config(reflect="off"), made.context)
    alpha = (1 + process.sigma_max**2) ** -0.5
    near(alpha**2, 0.00466, 1e-3)
    draws = ScriptedDraws([SIGNS, *[torch.full((2,), 0.5), SIGNS] * 3])
    own = alpha * method.rollout(Cond(), 2, 0.0, draws).x[:2]
    near(float(own.square().mean()), 1.0, 1e-12)
    x0, eps = 0.25 * HADAMARD[:, :1], HADAMARD[:, 1:]
    state = method.noised_state(Batch(Cond(), 4, x0), ScriptedDraws([torch.zeros(4, dtype=torch.long), eps]))
    near(float((alpha * state.x).square().mean()), 1 + alpha**2 * (0.25**2 - 1), 1e-12)


def two_steps_from_own_states() -> None:
    """PD at the student's own states: one step to the target lands where two teacher steps do."""
    teacher = Formula(lambda x, sigma: (x / (1 + sigma**2)).tanh())
    method, _ = wrapped(teacher)
    states = student_states(method)
    middle: Tensor = states.x
    for high, low in ((states.a, states.b), (states.b, states.c)):
        x0 = teacher(middle, high)
        middle = x0 + (low / high)[:, None] * (middle - x0)
    ratio = (states.c / states.a)[:, None]
    landed = ratio * states.x + (1 - ratio) * method.target(states)
    torch.testing.assert_close(landed, middle, rtol=1e-12, atol=1e-14)


PROPERTIES = (
    sources_have_the_law_of_the_schedule,
    rollouts_are_no_older_than_the_buffer,
    ends_of_mixed_rollouts,
    mixed_option_reaches_the_students_rollouts,
    exact_students_have_one_loss,
    realisable_optimum_knows_no_shares,
    labels_of_replayed_states,
    jumps_from_own_states,
    two_steps_from_own_states,
    clean_outputs_are_in_the_box,
    terminal_states_on_timesteps,
)
