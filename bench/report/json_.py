"""Tables as JSON: the whole model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.report.table import Table

FORMAT = 1  # of this output; raised when a key changes its meaning


def json_(tables: Sequence[Table]) -> str:
    """``{"format": 1, "tables": [...]}`` with the fields of ``bench.report.table.Table``."""
    return (
        json.dumps({"format": FORMAT, "tables": [_plain(t) for t in tables]}, indent=1, allow_nan=False)
        + "\n"
    )


def _plain(table: Table) -> dict[str, Any]:
    return {**asdict(table), "columns": [column.model_dump(mode="json") for column in table.columns]}
