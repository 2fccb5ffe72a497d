"""Timings run when they are named (``pytest tests/benchmarks``, ``make bench``) and are skipped otherwise.

Times are those of the processor, of this process and those it waited for, so that other work on the machine
weighs less (`make bench` takes one thread: a second one's waiting would count). Nothing asserts on them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timing import Beside, processor_seconds

from bench.provenance import code_state, cpu_name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what uses the ``benchmark`` fixture unless an argument names this folder."""
    named = any("benchmarks" in argument for argument in config.args)
    for item in items:
        if "benchmark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=processor_seconds))
            if not named:
                item.add_marker(pytest.mark.skip(reason="a timing; run with `make bench`"))


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Keep what the page shows: what was timed, where and when, and no more of the machine than that."""
    rows = [
        {
            "part": one["extra_info"].pop("part"),
            "what": one["extra_info"].pop("what"),
            "median": round(one["stats"]["median"], 7),
            "rounds": one["stats"]["rounds"],
            **one["extra_info"],
        }
        for one in output_json["benchmarks"]
        if "what" in one["extra_info"]
    ]
    sha, dirty, _ = code_state()
    machine = {
        "processor": cpu_name(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[2], 1),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "code": sha and sha[:12] + (" with changes" if dirty else ""),
    }
    output_json.clear()
    output_json.update(machine=machine, rows=rows)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line past pytest's capture: ratios are what a timing is run for."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return line


@pytest.fixture
def beside(benchmark: Any, show: Callable[[str], None]) -> Beside:
    """Times a call beside its references, turn by turn."""
    return Beside(benchmark, show)
