"""Timings run when they are named (``pytest tests/benchmarks``, ``make bench``) and are skipped otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what uses the ``benchmark`` fixture unless an argument names this folder."""
    if not any("benchmarks" in argument for argument in config.args):
        for item in items:
            if "benchmark" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="a timing; run with `make bench`"))


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line past pytest's capture: ratios are what a timing is run for."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return line
