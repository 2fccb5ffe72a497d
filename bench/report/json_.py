"""Tables as JSON: the whole model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.report.table import Table

FORMAT = 1  # of this output; raised when a key changes its meaning


def json_(tables: Sequence[Table]) -> str:
    """``{"format": 1, "tables": [...]}`` with the fields of ``bench.report.table.Table``, a table a line."""
    lines = ",\n".join(json.dumps(_plain(table), allow_nan=False) for table in tables)
    return f'{{\n "format": {FORMAT},\n "tables": [\n{lines}\n ]\n}}\n'


def _plain(table: Table) -> dict[str, Any]:
    return {**asdict(table), "columns": [column.model_dump(mode="json") for column in table.columns]}
