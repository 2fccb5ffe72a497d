"""How the DDIL-style wrapper must behave while it trains each of its base methods."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from oracles import Formula, Rig, rig
from torch import Tensor

from baselines.ddil import DDIL
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.distiller import Batch
from baselines.dmd2 import DMD2
from baselines.lcm import LCM
from baselines.networks.mlp import ResidualMLP
from baselines.progressive import ProgressiveDistillation
from baselines.states import StateDistiller
from baselines.streams import torch_generator

BASES: dict[type[StateDistiller], dict[str, Any]] = {
    ProgressiveDistillation: {"first": 4, "lr": 1e-3},
    LCM: {"lr": 1e-3, "fine": 40, "skip": 5},
    DMD2: {"steps": 4, "lr": 1e-3, "warmup": 0, "ratio": 2},
}
PURE: dict[type[StateDistiller], tuple[float, float, float]] = {
    ProgressiveDistillation: (1, 0, 0),
    LCM: (1, 0, 0),
    DMD2: (0, 0, 1),
}
BATCH = 16


def draw(number: int, size: int) -> tuple[Tensor, Cond]:
    return 0.5 * torch.randn(size, 2, generator=torch_generator(0, "data", number)), Cond()


def make(
    base: type[StateDistiller],
    wrap: bool = True,
    budget: float = 6000.0,
    kind: type[StateDistiller] | None = None,
    **options: Any,
) -> tuple[Any, Rig]:
    """The wrapper over a base method, or over a ``kind`` of it."""
    net = Denoiser(ResidualMLP(2, 16, 1), EDMScaling(0.5))
    net.model.initialise(torch_generator(0, "init"))  # type: ignore[operator]
    made = rig(net, shape=(2,), batch_size=BATCH, draw=draw, budget=budget)
    made.context.reference_flops = 1e6
    cls = DDIL.bind(kind or base) if wrap else base
    return cls(made.teacher, cls.Config(**BASES[base], **options), made.context), made


def train(
    method: Any, made: Rig, iterations: int, watch: Callable[[Any], None] | None = None
) -> list[dict[str, Any]]:
    logs = []
    for _ in range(iterations):
        out = method.step(made.context.next_batch())
        logs.append({key: float(value) for key, value in out.items()})
        if watch:
            watch(method)
        made.context.advance()
    return logs


def weights(made: Rig) -> dict[str, Tensor]:
    vector = torch.nn.utils.parameters_to_vector
    return {r: vector(n.plain.parameters()).detach().clone() for r, n in made.context.networks.items()}


def same(first: Rig, second: Rig) -> None:
    for (role, w), other in zip(weights(first).items(), weights(second).values(), strict=True):
        assert torch.equal(w, other), role


def no_mixing_is_the_base_method() -> None:
    """24 updates, through PD's stages: same losses, weights, work, and the same main random stream."""
    for base, shares in PURE.items():
        plain, first = make(base, wrap=False, budget=2000.0)
        mixed, second = make(base, budget=2000.0, start=shares, end=shares, reflect="off")
        for _ in range(24):
            out = [
                train(method, made, 0) or method.step(made.context.next_batch())
                for method, made in ((plain, first), (mixed, second))
            ]
            assert {k: float(v) for k, v in out[0].items()} == {k: float(v) for k, v in out[1].items()}
            numbers = [made.context.draws().normal(3) for made in (first, second)]
            assert torch.equal(*numbers)
            first.context.advance()
            second.context.advance()
        same(first, second)
        assert first.context.work == second.context.work


def sources_follow_the_schedule() -> None:
    """Ends of the ramp, sums, and counts of 40 batches within four standard deviations."""
    ends = {ProgressiveDistillation: (0.5, 0.1, 0.4), LCM: (0.5, 0.1, 0.4), DMD2: (0.4, 0.1, 0.5)}
    starts = {ProgressiveDistillation: (0.9, 0.1, 0.0), LCM: (0.9, 0.1, 0.0), DMD2: (0.0, 0.0, 1.0)}
    for base in BASES:
        method, made = make(base, budget=1e9)
        for spent, expected in ((0.0, starts[base]), (0.5, ends[base]), (0.99, ends[base])):
            method.spent = lambda spent=spent: spent
            assert all(abs(a - b) < 1e-12 for a, b in zip(method.shares(), expected, strict=True))
        for k in range(200):
            method.spent = lambda k=k: k / 200
            assert abs(sum(method.shares()) - 1) <= 1e-12 and min(method.shares()) >= 0
        counts = dict.fromkeys(("from_data", "from_teacher", "from_student"), 0.0)
        for _ in range(40):
            method.draw_state(made.context.next_batch())
            made.context.advance()
            counts = {name: counts[name] + method.counts[name] for name in counts}
        total = 40 * BATCH
        for count, share in zip(counts.values(), method.shares(), strict=True):
            assert abs(count - share * total) < 4 * (share * (1 - share) * total) ** 0.5, (base, counts)


def data_states_are_the_base_methods_own() -> None:
    """With rollouts on, rows that stay are bit for bit the base's, and so is the rest of the main stream."""
    for base in BASES:
        plain, first = make(base, wrap=False)
        mixed, second = make(base, start=(0.3, 0.3, 0.4), end=(0.3, 0.3, 0.4), reflect="off")
        for _ in range(6):
            own = plain.draw_state(first.context.next_batch())
            state = mixed.draw_state(second.context.next_batch())
            stayed = (own.x == state.x).all(1)
            name = ("from_data", "from_teacher", "from_student")[mixed.NATIVE]
            assert int(stayed.sum()) == mixed.counts[name]
            assert torch.equal(first.context.draws().normal(5), second.context.draws().normal(5))
            first.context.advance()
            second.context.advance()


def states_keep_their_own_labels() -> None:
    """Networks answer with the label (spacing 1000), so states at the last node lie near their own."""

    class Answer(Denoiser):
        def __init__(self) -> None:
            super().__init__(torch.nn.Linear(1, 1), EDMScaling(0.5))

        def forward(self, x: Tensor, sigma: Any, cond: Cond | None = None) -> Tensor:
            assert cond is not None and cond.label is not None
            return cond.label[:, None].to(x).expand_as(x) + 0 * x

    def labelled(number: int, size: int) -> tuple[Tensor, Cond]:
        label = 1000 * torch.arange(number * size, (number + 1) * size)
        return label[:, None].float(), Cond(label=label)

    made = rig(Answer(), batch_size=BATCH, draw=labelled)
    bound = DDIL.bind(ProgressiveDistillation)
    config = bound.Config(first=4, start=(0.2, 0.3, 0.5), end=(0.2, 0.3, 0.5), reflect="off")
    method, last = bound(made.teacher, config, made.context), 0
    for _ in range(12):
        state = method.draw_state(made.context.next_batch())
        made.context.advance()
        near = state.a < 1
        last += int(near.sum())
        assert bool(((state.x[:, 0] - state.cond.label)[near].abs() < 450).all())
    assert last > 20


def rollouts_are_paid_for() -> None:
    """PD, four steps, batch of one unit a sample: 5, and 3 student or 2 x 3 teacher forwards per refresh."""
    for shares, extra in (((1, 0, 0), 0), ((0.5, 0, 0.5), 3), ((0.5, 0.5, 0), 6)):
        method, made = make(ProgressiveDistillation, budget=1e9, start=shares, end=shares, refresh=4)
        spent = []
        for _ in range(6):
            before = made.context.work
            train(method, made, 1)
            spent.append((made.context.work - before) / BATCH)
        assert spent == [5 + extra, 5, 5, 5, 5 + extra, 5], (shares, spent)


def stages_do_not_share_rollouts() -> None:
    """A new stage of PD has other nodes: what the buffer holds are states of the present ladder."""
    method, made = make(
        ProgressiveDistillation, budget=2000.0, start=(0.5, 0, 0.5), end=(0.5, 0, 0.5), refresh=1
    )
    seen = set()

    def watch(method: Any) -> None:
        levels = method.sampler_levels()
        seen.add(len(levels))
        for buffer in method.buffers.values():
            for rollout in buffer.rollouts:
                assert set(rollout.a.tolist()) <= set(
                    method.space.grid(torch.arange(len(levels)) / len(levels)).tolist()
                )

    train(method, made, 25, watch)
    assert seen == {4, 2, 1}


def long_samplers_are_left_alone() -> None:
    method, made = make(ProgressiveDistillation, longest=2)
    assert method.shares() == [1.0, 0.0, 0.0]
    assert "from_student" not in train(method, made, 1)[0]


def resumes_bit_for_bit() -> None:
    for base in BASES:
        options: dict[str, Any] = {
            "start": (0.4, 0.2, 0.4),
            "end": (0.2, 0.4, 0.4),
            "refresh": 2,
            "capacity": 2,
        }
        whole, first = make(base, budget=900.0, **options)
        train(whole, first, 7)
        half, second = make(base, budget=900.0, **options)
        train(half, second, 3)
        file = io.BytesIO()
        torch.save({"context": second.context.state_dict(), "method": half.extra_state()}, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        rest, third = make(base, budget=900.0, **options)
        third.context.load_state_dict(state["context"])
        rest.load_extra_state(state["method"])
        train(rest, third, 4)
        same(first, third)
        assert first.context.work == third.context.work
        for _ in range(10):  # and so are the next draws
            batch = Batch(Cond(), BATCH, torch.zeros(BATCH, 2))
            assert torch.equal(whole.draw_state(batch).x, rest.draw_state(batch).x)


def reflected_parts_of_each_method() -> None:
    """Labels, critics and rollouts see the box; the student's loss and the fake score's own loss do not."""
    wild = Formula(lambda x, sigma: 1e3 + 0 * x)
    for base in BASES:
        method, made = make(base, reflect="static", bound=1.0)
        clipped = method.bounded(made.teacher.net)
        assert clipped.plain is made.teacher.net.plain
        if base is DMD2:
            (critic,) = method.critics.each
            assert critic.matching.real.box == critic.matching.fake.box == method.box
            assert critic.fake.network is made.context.networks["fake"]
        if base is LCM:
            method.follower = wild
        if base is ProgressiveDistillation:
            method.stage, method.previous = 1, wild
        if base is not DMD2:
            state = method.draw_state(made.context.next_batch())
            assert float(method.target(state).abs().max()) <= 1 + 1e-6
        method.student = wild
        rollout = method.rollout(Cond(), BATCH, 0.0, made.context.draws("rollout"))
        assert float(rollout.x[-BATCH:].abs().max()) < 1 + 6 * float(method.sampler_levels()[-1]) + 80


PROPERTIES = (
    no_mixing_is_the_base_method,
    sources_follow_the_schedule,
    data_states_are_the_base_methods_own,
    states_keep_their_own_labels,
    rollouts_are_paid_for,
    stages_do_not_share_rollouts,
    long_samplers_are_left_alone,
    resumes_bit_for_bit,
    reflected_parts_of_each_method,
)
