"""SiD against its closed forms on Gaussians, and the conduct of its training step."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import sid_properties
import sid_step_properties
import sid_weight_properties
from pydantic import ValidationError

from baselines import sid

CHECKS = sid_properties.PROPERTIES + sid_step_properties.PROPERTIES + sid_weight_properties.PROPERTIES


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_sid(check: Callable[[ModuleType], None]) -> None:
    check(sid)


def test_config_refuses_nonsense() -> None:
    for wrong in ({"sigma_init": 0}, {"t_max": 1.5}, {"lr": -1}, {"alhpa": 1.0}):
        with pytest.raises(ValidationError):
            sid.SiDConfig(**wrong)
