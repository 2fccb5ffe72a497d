"""Progressive distillation against its closed forms, and its passage through the stages."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pd_limit_properties as limits
import pd_properties
import pd_stage_properties
import pytest
from pydantic import ValidationError

from baselines import progressive
from baselines.diffusion.samplers import STEPS
from baselines.diffusion.vp import EpsilonScaling, VelocityScaling

CHECKS = pd_properties.PROPERTIES + pd_stage_properties.PROPERTIES + limits.PROPERTIES


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_progressive(check: Callable[[ModuleType], None]) -> None:
    check(progressive)


def test_config_refuses_steps_off_the_ladder() -> None:
    for wrong in ({"first": 6}, {"first": 0}, {"serves": (1, 3)}, {"late_share": 0}, {"clip": 0}):
        with pytest.raises(ValidationError):
            progressive.PDConfig(**wrong)


# mutants of what the method is built on: mistakes that the named property must notice


def forgotten_noise(self: Any, sigma: Any) -> Any:
    return -sigma


def flipped(self: Any, sigma: Any) -> Any:
    return sigma / (sigma**2 + 1).sqrt()


MUTANTS = [
    (VelocityScaling, "c_out", forgotten_noise, limits.check_predictions_convert),
    (VelocityScaling, "c_out", flipped, limits.check_predictions_convert),
    (VelocityScaling, "c_out", forgotten_noise, limits.check_norms_of_errors),
    (EpsilonScaling, "c_in", lambda self, sigma: 1 / (sigma + 1), limits.check_predictions_convert),
    (progressive, "truncated_snr_weight", lambda sigma: 1 + 1 / sigma**2, limits.check_norms_of_errors),
    (STEPS, "euler", STEPS["heun"], limits.check_one_step_is_the_consistency_student),
]


@pytest.mark.parametrize(("owner", "name", "mutant", "check"), MUTANTS)
def test_mutants_are_caught(
    owner: Any, name: str, mutant: Any, check: Callable[[ModuleType], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (monkeypatch.setitem if isinstance(owner, dict) else monkeypatch.setattr)(owner, name, mutant)
    with pytest.raises(AssertionError):
        check(progressive)
