"""Messages about unknown names and broken values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bench.errors import FEW, mismatch, unknown
from bench.suite_presets import Preset


@given(st.sets(st.text("abcdefgh", min_size=6, max_size=9), min_size=1, max_size=60))
def test_a_message_lists_few_names_and_counts_the_rest(names: set[str]) -> None:
    message = str(unknown("asset", "ZZZ", names))
    listed = message.partition("known: ")[2].split(", ")
    assert len(listed) == min(len(names), FEW + 1)
    assert (f"and {len(names) - FEW} more" in message) is (len(names) > FEW)


def test_the_nearest_name_is_offered_instead_of_the_list() -> None:
    assert str(unknown("suite", "digit", ["digits", "gmm2d"], "x.toml")) == (
        "x.toml: unknown suite 'digit'; did you mean 'digits'?"
    )


class Inner(BaseModel):
    count: int
    preset: Preset


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asked": 3.0}, "found asked = 3 without learned; expected both: other students learn one scale"),
        ({"batch": "few"}, "found 'few', expected a valid integer, unable to parse string as an integer"),
        ({"batch": 0}, "found 0, expected greater than 0"),
        ({"tuning": None}, "found None, expected a valid string"),
    ],
)
def test_values_that_do_not_go_together_are_named_without_all_others(
    change: dict[str, Any], said: str
) -> None:
    whole = {"count": 1, "preset": {"batch": 8, "tuning": "a long story", **change}}
    with pytest.raises(ValidationError) as caught:
        Inner.model_validate(whole)
    assert mismatch(caught.value.errors()[0]) == said


def test_a_missing_value_is_found_to_be_nothing() -> None:
    with pytest.raises(ValidationError) as caught:
        Inner.model_validate({"preset": {"batch": 8, "tuning": ""}})
    assert mismatch(caught.value.errors()[0]) == "found nothing, expected a value"
