"""The DDIL-style wrapper: closed forms, conduct over each base method, and mutants, which must be caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ddil_law_properties
import ddil_properties
import ddil_step_properties
import pytest
from pydantic import ValidationError
from torch import Tensor

from baselines.ddil import DDIL, DDILConfig
from baselines.diffusion.reflection import DynamicBox, StaticBox
from baselines.diffusion.samplers import ddim_step
from baselines.diffusion.vp import TimestepGrid
from baselines.distiller import Batch, Draws
from baselines.dmd2 import DMD2
from baselines.lcm import LCM
from baselines.losses import pixel_mean, truncated_snr_weight
from baselines.progressive import ProgressiveDistillation
from baselines.replay import ReplayBuffer
from baselines.states import STUDENT, StateDistiller
from bench.context import RunContext, StreamDraws

PROPERTIES = ddil_properties.PROPERTIES + ddil_step_properties.PROPERTIES + ddil_law_properties.PROPERTIES
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_ddil(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("base", [ProgressiveDistillation, LCM, DMD2])
def test_bound_classes_carry_the_options_of_both(base: type[StateDistiller]) -> None:
    bound = DDIL.bind(base)
    assert bound.name == "ddil" and bound.needs == base.needs
    assert set(bound.Config.model_fields) == set(DDILConfig.model_fields) | set(base.Config.model_fields)
    config: Any = bound.Config()
    assert config.base == base.name and abs(sum(config.end) - 1) < 1e-12
    assert bound.served_nfe(config) == base.served_nfe(base.Config())


def test_the_wrapper_alone_wraps_nothing() -> None:
    with pytest.raises(TypeError, match="abstract"):
        DDIL(None, DDILConfig(), None)  # type: ignore[abstract,arg-type]


def test_config_refuses_nonsense() -> None:
    for wrong in (
        {"start": (0.5, 0.5, 0.5)},
        {"end": (1.2, -0.2, 0.0)},
        {"reflect": "maybe"},
        {"capacity": 0},
    ):
        with pytest.raises(ValidationError):
            DDILConfig(**wrong)


# mutants: each is a plausible mistake, with a property that must fail under it


def labels_paired_again(patch: Patch) -> None:
    foreign = DDIL.foreign

    def repaired(self: DDIL, source: int, batch: Batch, draws: Draws) -> Any:
        return replace(foreign(self, source, batch, draws), cond=batch.cond)

    patch.setattr(DDIL, "foreign", repaired)


def student_clipped_in_its_loss(patch: Patch) -> None:
    def loss(self: ProgressiveDistillation, state: Any) -> Tensor:
        error = (self.bounded(self.student)(state.x, state.a, state.cond) - self.target(state)) ** 2
        return (truncated_snr_weight(state.a).to(error.dtype) * pixel_mean(error)).mean()

    patch.setattr(ProgressiveDistillation, "loss", loss)


def labels_not_clipped(patch: Patch) -> None:
    patch.setattr(DDIL, "bounded", lambda self, network: network)


def newest_leaves_first(patch: Patch) -> None:
    patch.setattr(ReplayBuffer, "push", lambda self, state: self.rollouts.appendleft(state))


def rollouts_use_the_main_stream(patch: Patch) -> None:
    draws = RunContext.draws
    patch.setattr(RunContext, "draws", lambda self, stream="train-noise": draws(self))


def rollouts_swapped(patch: Patch) -> None:
    rollout = StateDistiller.rollout
    patch.setattr(
        StateDistiller, "rollout", lambda self, cond, size, p, draws: rollout(self, cond, size, 1 - p, draws)
    )


def buffer_survives_the_stage(patch: Patch) -> None:
    patch.setattr(ReplayBuffer, "clear", lambda self: None)


def buffer_not_saved(patch: Patch) -> None:
    patch.setattr(ReplayBuffer, "load", lambda self, state, kind, device: None)


def rollouts_when_nobody_wants_them(patch: Patch) -> None:
    draw = DDIL.draw_state

    def eager(self: DDIL, batch: Batch) -> Any:
        self.rollout(batch.cond, batch.size, 0.0, self.context.draws("rollout"))
        return draw(self, batch)

    patch.setattr(DDIL, "draw_state", eager)


def rescaled_static_box(patch: Patch) -> None:
    patch.setattr(StaticBox, "__call__", lambda self, x: DynamicBox(self.bound, 0.9)(x))


def shares_jump(patch: Patch) -> None:
    patch.setattr(DDIL, "shares", lambda self: list(self.config.end))


def shares_in_tenths(patch: Patch) -> None:
    shares = DDIL.shares
    patch.setattr(DDIL, "shares", lambda self: [round(share, 1) for share in shares(self)])


def coarse_choices(patch: Patch) -> None:
    uniform = StreamDraws.uniform
    patch.setattr(StreamDraws, "uniform", lambda self, count: (uniform(self, count) * 64).floor() / 64)


def ramp_of_twice_the_length(patch: Patch) -> None:
    shares = DDIL.shares

    def late(self: Any) -> list[float]:
        spent = self.spent()
        with pytest.MonkeyPatch.context() as slow:
            slow.setattr(self, "spent", lambda: spent / 2)
            return shares(self)

    patch.setattr(DDIL, "shares", late)


def refreshed_when_empty_only(patch: Patch) -> None:
    def foreign(self: Any, source: int, batch: Batch, draws: Draws) -> Any:
        buffer = self.buffers[source]
        if not len(buffer):
            buffer.push(self.rollout(batch.cond, batch.size, self.teaching[source], draws))
        return buffer.draw(batch.size, draws)

    patch.setattr(DDIL, "foreign", foreign)


def one_rollout_kept(patch: Patch) -> None:
    push = ReplayBuffer.push

    def alone(self: ReplayBuffer, state: Any) -> None:
        self.clear()
        push(self, state)

    patch.setattr(ReplayBuffer, "push", alone)


def full_buffer_closed(patch: Patch) -> None:
    push = ReplayBuffer.push

    def closed(self: ReplayBuffer, state: Any) -> None:
        if len(self) < (self.rollouts.maxlen or 0):
            push(self, state)

    patch.setattr(ReplayBuffer, "push", closed)


def chance_of_zero_is_not_never(patch: Patch) -> None:
    rollout = StateDistiller.rollout
    patch.setattr(
        StateDistiller,
        "rollout",
        lambda self, cond, size, p, draws: rollout(self, cond, size, max(p, 1e-30), draws),
    )


def mixing_ignored(patch: Patch) -> None:
    foreign = DDIL.foreign

    def pure(self: Any, source: int, batch: Batch, draws: Draws) -> Any:
        self.teaching[STUDENT] = 0.0
        return foreign(self, source, batch, draws)

    patch.setattr(DDIL, "foreign", pure)


def target_of_one_step(patch: Patch) -> None:
    def target(self: Any, state: Any) -> Any:
        return self.teacher.denoiser(state.x, state.a, state.cond)

    patch.setattr(ProgressiveDistillation, "target", target)


def student_stops_halfway(patch: Patch) -> None:
    def step(self: Any, state: Any, node: int, draws: Draws) -> Tensor:
        return ddim_step(state.x, self.student(state.x, state.a, state.cond), state.a, state.b)

    patch.setattr(ProgressiveDistillation, "student_step", step)


def teacher_asked_below(patch: Patch) -> None:
    def target(self: Any, state: Any) -> Any:
        x0 = self.teacher.denoiser(state.x, state.lower, state.cond)
        return self.follower(ddim_step(state.x, x0, state.upper, state.lower), state.lower, state.cond)

    patch.setattr(LCM, "target", target)


def rows_mixed_up(patch: Patch) -> None:
    draw = ReplayBuffer.draw

    def rolled(self: ReplayBuffer, count: int, draws: Draws) -> Any:
        state = draw(self, count, draws)
        return replace(state, x=state.x.roll(1, 0))

    patch.setattr(ReplayBuffer, "draw", rolled)


def box_of_twice_the_bound(patch: Patch) -> None:
    patch.setattr(StaticBox, "__call__", lambda self, x: x.clamp(-2 * self.bound, 2 * self.bound))


def start_without_the_signal(patch: Patch) -> None:
    patch.setattr(TimestepGrid, "start", lambda self, sigma: sigma)


p, steps, laws = ddil_properties, ddil_step_properties, ddil_law_properties
MUTANTS = [
    (labels_paired_again, steps.states_keep_their_own_labels),
    (student_clipped_in_its_loss, p.clipped_labels_unclipped_student),
    (labels_not_clipped, p.clipped_labels_unclipped_student),
    (labels_not_clipped, steps.reflected_parts_of_each_method),
    (newest_leaves_first, p.buffer_is_first_in_first_out),
    (rollouts_use_the_main_stream, steps.data_states_are_the_base_methods_own),
    (rollouts_swapped, p.student_rollouts_have_the_published_law),
    (buffer_survives_the_stage, steps.stages_do_not_share_rollouts),
    (buffer_not_saved, steps.resumes_bit_for_bit),
    (rollouts_when_nobody_wants_them, steps.no_mixing_is_the_base_method),
    (rescaled_static_box, p.static_projection),
    (shares_jump, steps.sources_follow_the_schedule),
    (shares_in_tenths, laws.sources_have_the_law_of_the_schedule),
    (coarse_choices, laws.sources_have_the_law_of_the_schedule),
    (ramp_of_twice_the_length, laws.sources_have_the_law_of_the_schedule),
    (refreshed_when_empty_only, laws.rollouts_are_no_older_than_the_buffer),
    (one_rollout_kept, laws.rollouts_are_no_older_than_the_buffer),
    (full_buffer_closed, laws.rollouts_are_no_older_than_the_buffer),
    (rollouts_swapped, laws.ends_of_mixed_rollouts),
    (chance_of_zero_is_not_never, laws.ends_of_mixed_rollouts),
    (mixing_ignored, laws.mixed_option_reaches_the_students_rollouts),
    (target_of_one_step, laws.realisable_optimum_knows_no_shares),
    (target_of_one_step, laws.two_steps_from_own_states),
    (teacher_asked_below, laws.jumps_from_own_states),
    (rows_mixed_up, laws.labels_of_replayed_states),
    (box_of_twice_the_bound, laws.clean_outputs_are_in_the_box),
    (start_without_the_signal, laws.terminal_states_on_timesteps),
    (student_stops_halfway, laws.exact_students_have_one_loss),
]


@pytest.mark.parametrize(("mutate", "check"), MUTANTS, ids=lambda f: f.__name__)
def test_mutants_are_caught(mutate: Any, check: Callable[[], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    with pytest.raises((AssertionError, AttributeError)):
        check()
