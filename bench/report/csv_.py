"""Tables as CSV: one line per row, numbers in full, no text to parse."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from bench.report.flat import Value, flat_rows
from bench.report.table import Table

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # spreadsheets take the wide ones for the plain ones


def csv_(tables: Sequence[Table]) -> str:
    """All tables as one CSV, with the columns of ``flat_rows``."""
    return csv_text(flat_rows(tables))


def csv_text(rows: Sequence[dict[str, Value]]) -> str:
    """Rows of the same keys as CSV; nothing for no rows."""
    stream = StringIO()
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _safe(value: Value) -> Value:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'\" ").startswith(FORMULA) else value
