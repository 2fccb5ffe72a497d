"""distillbench: fixed-budget evaluation of few-step distillation methods."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def load(row: str, **options: Any) -> Any:
    """Load the generator behind a leaderboard row or record (see ``bench.api.load``)."""
    from bench.api import load as load_row

    return load_row(row, **options)


def rescore(folder: str, **options: Any) -> Any:
    """Compute the metrics of a finished cell again from its stored samples (see ``bench.stored.rescore``)."""
    from bench.stored import rescore as rescore_cell

    return rescore_cell(folder, **options)
