"""The DDIL-style wrapper: closed forms, conduct over each base method, and mutants, which must be caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ddil_properties
import ddil_step_properties
import pytest
from pydantic import ValidationError
from torch import Tensor

from baselines.ddil import DDIL, DDILConfig
from baselines.diffusion.reflection import DynamicBox, StaticBox
from baselines.distiller import Batch, Draws
from baselines.dmd2 import DMD2
from baselines.lcm import LCM
from baselines.losses import pixel_mean, truncated_snr_weight
from baselines.progressive import ProgressiveDistillation
from baselines.replay import ReplayBuffer
from baselines.states import StateDistiller
from bench.context import RunContext

PROPERTIES = ddil_properties.PROPERTIES + ddil_step_properties.PROPERTIES
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


p, steps = ddil_properties, ddil_step_properties
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
]


@pytest.mark.parametrize(("mutate", "check"), MUTANTS, ids=lambda f: f.__name__)
def test_mutants_are_caught(mutate: Any, check: Callable[[], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    with pytest.raises((AssertionError, AttributeError)):
        check()
