"""How progressive distillation passes through its stages: fresh optimiser, rates, frozen teachers, cost."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from oracles import Gaussian, Rig, rig
from torch import Tensor

from baselines.datasets.mixtures import ring
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.networks.mlp import ResidualMLP
from baselines.streams import torch_generator

PEAK, UPDATES, BATCH, STAGES = 1e-3, 5, 4, 4  # ladder 8, 4, 2, 1
UNITS = 5 * BATCH  # of one update


def tiny_net() -> Denoiser:
    return Denoiser(ResidualMLP(2, 16, 1).initialise(torch_generator(0, "init")), EDMScaling(0.5))


def tiny_pd(pd: ModuleType, **config: Any) -> tuple[Any, Rig]:
    """The ladder 8 .. 1 with equal stages of five updates."""
    made = rig(
        tiny_net(),
        shape=(2,),
        draw=draw,
        batch_size=BATCH,
        budget=UNITS * UPDATES * STAGES,
    )
    options = {"first": 8, "late_share": 1.0, "lr": PEAK} | config
    return pd.ProgressiveDistillation(made.teacher, pd.PDConfig(**options), made.context), made


def draw(number: int, size: int) -> Any:
    return ring().batch(0, number, size)


def weights(network: Any) -> list[Tensor]:
    return [p.detach().clone() for p in network.plain.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def iterate(method: Any, made: Rig) -> Any:
    logs = method.step(made.context.next_batch())
    made.context.advance()
    return logs


def check_cost(pd: ModuleType) -> None:
    """Five units a sample: two teacher forwards, one student forward, its backward 2."""
    method, made = tiny_pd(pd)
    iterate(method, made)
    assert made.meter.by_role() == {"student": 3 * BATCH, "teacher": 2 * BATCH}
    for _ in range(UPDATES):
        iterate(method, made)
    assert made.meter.by_role() == {
        "student": 3 * BATCH * (UPDATES + 1),
        "teacher": 2 * BATCH * UPDATES,
        "teacher-of-stage": 2 * BATCH,
    }
    assert made.meter.work() == 5 * BATCH * (UPDATES + 1)


def check_rate_is_annealed_in_every_stage(pd: ModuleType) -> None:
    """Update j of K runs at peak (1 - j / K), in every stage."""
    method, made = tiny_pd(pd)
    for _ in range(STAGES):
        for update in range(UPDATES):
            iterate(method, made)
            rates = [group["lr"] for group in method.optimizer.param_groups]
            assert abs(rates[0] - PEAK * (1 - update / UPDATES)) < 1e-12, (rates, update)


def check_stage_start(pd: ModuleType) -> None:
    """At a stage's first update the student equals its teacher bit for bit and Adam has no memory."""
    method, made = tiny_pd(pd)
    seen: list[tuple[int, bool, int]] = []
    step = method.optimizer.step

    def watched() -> Any:
        teacher = method.previous if method.stage else method.teacher.net
        seen.append(
            (
                method.ladder[method.stage],
                same(weights(method.student), weights(teacher)),
                len(method.optimizer.state),
            )
        )
        return step()

    method.optimizer.step = watched
    for _ in range(UPDATES * STAGES):
        iterate(method, made)
    tensors = len(weights(method.student))
    fresh, used = (True, 0), (False, tensors)
    expected = [(8 >> stage, *(used if update else fresh)) for stage in range(4) for update in range(UPDATES)]
    assert seen == expected
    ages = {int(state["step"]) for state in method.optimizer.state.values()}
    assert ages == {UPDATES}


def check_teacher_is_frozen_within_a_stage(pd: ModuleType) -> None:
    """No weight of any teacher moves during a stage, and each stage's teacher is the last student."""
    method, made = tiny_pd(pd)
    first, last = weights(method.teacher.net), weights(method.student)
    for _ in range(STAGES):
        for update in range(UPDATES):
            before = weights(method.previous)
            student = weights(method.student)
            iterate(method, made)
            if update:
                assert same(before, weights(method.previous))
            elif method.stage:
                assert same(weights(method.previous), last)
            assert not same(student, weights(method.student))
        last = weights(method.student)
    assert same(first, weights(method.teacher.net))
    assert all(p.grad is None for p in method.previous.plain.parameters())


def check_target_comes_from_the_stages_teacher(pd: ModuleType) -> None:
    """Stage 0 asks the teacher's best denoiser, later stages ask the previous student."""
    teacher, previous, student = Gaussian(0.3, 0.5), Gaussian(-0.4, 0.2), Gaussian(1.0, 1.0)
    made = rig(student, exact=teacher)
    method = pd.ProgressiveDistillation(made.teacher, pd.PDConfig(first=4), made.context)
    method.previous.plain = previous
    x = torch.ones(1, 1, dtype=torch.float64)
    a, b, c = (torch.tensor([v], dtype=torch.float64) for v in (1.0, 0.5, 0.0))
    for stage, asked in ((0, teacher), (1, previous)):
        method.stage = stage
        d1 = asked(x, 1.0)
        expected = asked(0.5 * x + 0.5 * d1, 0.5)
        assert (
            abs(
                float(
                    (method.target(pd.State(x, a, b, c, made.context.next_batch().cond)) - expected).detach()
                )
            )
            < 1e-15
        )


def check_what_is_served(pd: ModuleType) -> None:
    """Finished step counts are kept as they were, with the work spent up to each."""
    method, made = tiny_pd(pd, serves=(1, 4, 8))
    assert list(method.students()) == [8]
    finished: dict[int, list[Tensor]] = {}
    for stage in range(STAGES):
        for _ in range(UPDATES):
            iterate(method, made)
        finished[8 >> stage] = weights(method.student)
    students = method.students()
    assert sorted(students) == [1, 4, 8]
    assert all(same(weights(students[n]), finished[n]) for n in students)
    assert method.work_by_nfe() == {8: UNITS * 5, 4: UNITS * 10, 2: UNITS * 15}
    assert pd.ProgressiveDistillation.served_nfe(method.config) == (1, 4, 8)


def check_late_stages_are_longer(pd: ModuleType) -> None:
    """With ``late_share`` 2 the ladder 8, 4, 2, 1 splits the budget 1 : 1 : 2 : 2."""
    method, _ = tiny_pd(pd, late_share=2.0)
    assert max(abs(a - b / 6) for a, b in zip(method.ends, (1, 2, 4, 6), strict=True)) < 1e-12


def check_gradients_are_clipped(pd: ModuleType) -> None:
    """The joint L2 norm of the gradient is cut at ``clip``."""
    method, made = tiny_pd(pd, clip=1e-3)
    iterate(method, made)
    norm = torch.stack(
        [p.grad.norm() for p in method.student.plain.parameters() if p.grad is not None]
    ).norm()
    assert abs(norm.item() - 1e-3) < 1e-6


PROPERTIES = [function for name, function in list(globals().items()) if name.startswith("check_")]
