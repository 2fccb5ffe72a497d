"""Progressive distillation against its closed forms, and its passage through the stages."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pd_properties
import pd_stage_properties
import pytest
from pydantic import ValidationError

from baselines import progressive

CHECKS = pd_properties.PROPERTIES + pd_stage_properties.PROPERTIES


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_progressive(check: Callable[[ModuleType], None]) -> None:
    check(progressive)


def test_config_refuses_steps_off_the_ladder() -> None:
    for wrong in ({"first": 6}, {"first": 0}, {"serves": (1, 3)}, {"late_share": 0}, {"clip": 0}):
        with pytest.raises(ValidationError):
            progressive.PDConfig(**wrong)
