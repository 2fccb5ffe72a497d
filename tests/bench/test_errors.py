"""Messages about unknown names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.errors import FEW, unknown


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
