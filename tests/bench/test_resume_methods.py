"""A training that is saved, thrown away and continued equals one that never stopped, bit for bit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import Rig
from pd_stage_properties import BATCH, tiny_pd
from sid_step_properties import tiny_sid

from baselines import progressive, sid

Make = Callable[[], tuple[Any, Rig]]


def make_sid() -> tuple[Any, Rig]:
    return tiny_sid(sid, lr=1e-3, lr_fake=1e-3)


def make_pd() -> tuple[Any, Rig]:
    """Ladder 4, 2, 1 whose stages end after 3 and 5 of 7 iterations."""
    method, made = tiny_pd(progressive, first=4, serves=(1, 2, 4))
    made.context.budget = 7 * 5 * BATCH
    return method, made


def train(method: Any, made: Rig, iterations: int) -> list[dict[str, float]]:
    logs = []
    for _ in range(iterations):
        out = method.step(made.context.next_batch())
        logs.append({key: float(value) for key, value in out.items()})
        made.context.advance()
    return logs


def saved(method: Any, made: Rig) -> bytes:
    buffer = io.BytesIO()
    torch.save({"context": made.context.state_dict(), "method": method.extra_state()}, buffer)
    return buffer.getvalue()


def restored(make: Make, data: bytes) -> tuple[Any, Rig]:
    method, made = make()
    state = torch.load(io.BytesIO(data), weights_only=True)
    made.context.load_state_dict(state["context"])
    method.load_extra_state(state["method"])
    return method, made


def assert_same(first: Any, second: Any, where: str = "") -> None:
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            assert_same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}/{index}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


@pytest.mark.parametrize("make", [make_sid, make_pd])
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_resumed_training_is_identical(make: Make, stop: int) -> None:
    method, made = make()
    logs = train(method, made, 7)
    first, first_rig = make()
    first_logs = train(first, first_rig, stop)
    second, second_rig = restored(make, saved(first, first_rig))
    assert first_logs + train(second, second_rig, 7 - stop) == logs
    assert_same(second_rig.context.state_dict(), made.context.state_dict())
    assert second.extra_state() == method.extra_state()
    assert second.work_by_nfe() == method.work_by_nfe()
    assert sorted(second.students()) == sorted(method.students())


def test_progressive_crossed_its_stages() -> None:
    method, made = make_pd()
    assert [log["steps"] for log in train(method, made, 7)] == [4, 4, 4, 2, 2, 1, 1]


def test_training_depends_on_the_seed() -> None:
    runs = []
    for seed in (0, 0, 1):
        method, made = make_sid()
        made.context.seed = seed
        runs.append(train(method, made, 2))
    assert runs[0] == runs[1] != runs[2]


def test_roles_and_optimizers_are_unique() -> None:
    method, made = make_sid()
    with pytest.raises(ValueError, match="role 'student' is already taken"):
        made.context.network("student", made.teacher.net)
    with pytest.raises(ValueError, match="optimizer 'fake' is already taken"):
        made.context.optimizer("fake", method.student, lr=1.0)


def test_copies_are_independent_of_the_teacher() -> None:
    method, made = make_sid()
    before = {k: v.clone() for k, v in made.teacher.net.plain.state_dict().items()}
    train(method, made, 3)
    assert_same(dict(made.teacher.net.plain.state_dict()), before)


def test_data_free_batches_hide_pixels() -> None:
    _, made = make_sid()
    with pytest.raises(RuntimeError, match="carry no images"):
        _ = made.context.next_batch().x0
