"""The formats of tables and views by name; heavy ones are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.report.csv_ import csv_
from bench.report.json_ import json_
from bench.report.latex import latex
from bench.report.markdown import markdown
from bench.report.table import Table
from bench.report.view_text import VIEW_RENDERERS, view_rows
from bench.report.views import View

SUFFIXES = {
    ".md": "md",
    ".csv": "csv",
    ".json": "json",
    ".tex": "latex",
    ".parquet": "parquet",
    ".html": "html",
}
FORMATS = ("terminal", "md", "csv", "json", "latex", "parquet", "html")
TABLE_RENDERERS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": markdown,
    "csv": csv_,
    "json": json_,
    "latex": latex,
}


def render_tables(form: str, tables: Sequence[Table]) -> str | bytes:
    """Tables in a format other than terminal and html."""
    if form == "parquet":
        from bench.report.parquet import parquet

        return parquet(tables)
    return TABLE_RENDERERS[form](tables)


def render_views(form: str, views: Sequence[View]) -> str | bytes:
    """Views in a format other than terminal and html."""
    if form == "parquet":
        from bench.report.parquet import parquet_rows

        return parquet_rows(view_rows(views))
    return VIEW_RENDERERS[form](views)
