"""Views in every text format, from one model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bench.report.csv_ import csv_text
from bench.report.flat import Value
from bench.report.grid import grid_lines, styled
from bench.report.latex import booktabs, preamble
from bench.report.latex import escape as latex_escape
from bench.report.markdown import escape
from bench.report.text import printable
from bench.report.views import View


def views_terminal(views: Sequence[View], *, colour: bool = False) -> str:
    """For a terminal; rows are as wide as they take, for a pager."""
    return "\n".join("\n".join(_terminal(view, colour)) + "\n" for view in views)


def _terminal(view: View, colour: bool) -> list[str]:
    titles, right = [head.title for head in view.heads], [head.right for head in view.heads]
    rows = [([printable(cell) for cell in row], "") for row in view.texts()]
    return [
        styled(printable(view.title), "bold", colour=colour),
        *grid_lines(titles, right, rows, colour=colour),
        *(styled(note, "dim", colour=colour) for note in view.notes),
    ]


def views_markdown(views: Sequence[View]) -> str:
    """GitHub Markdown."""
    return "\n".join(map(_markdown, views))


def _markdown(view: View) -> str:
    rows = [
        [escape(head.title) for head in view.heads],
        ["---:" if head.right else ":---" for head in view.heads],
        *([escape(printable(cell)) for cell in row] for row in view.texts()),
    ]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "\n".join(f"- {escape(note)}" for note in view.notes)
    return f"## {escape(printable(view.title))}\n\n{body}\n\n{notes}\n"


def views_csv(views: Sequence[View]) -> str:
    """One CSV with the title of each view in its first column."""
    return csv_text(view_rows(views))


def view_rows(views: Sequence[View]) -> list[dict[str, Value]]:
    """The rows of all views with the same keys, the view's title first."""
    keys = list(dict.fromkeys(head.key for view in views for head in view.heads))
    rows: list[dict[str, Value]] = []
    for view in views:
        for row in view.rows:
            named = {head.key: value for head, value in zip(view.heads, row, strict=True)}
            texts = {key: named.get(key) for key in keys}
            title: dict[str, Value] = {"view": printable(view.title)}
            rows.append(title | {key: _plain(value) for key, value in texts.items()})
    return rows


def _plain(value: Value) -> Value:
    return printable(value) if isinstance(value, str) else value


def views_json(views: Sequence[View]) -> str:
    """``{"format": 1, "views": [{"title", "columns", "rows", "notes"}]}``, rows as objects."""
    plain = [
        {
            "title": view.title,
            "columns": {head.key: head.title for head in view.heads},
            "rows": [
                {head.key: value for head, value in zip(view.heads, row, strict=True)} for row in view.rows
            ],
            "notes": view.notes,
        }
        for view in views
    ]
    return json.dumps({"format": 1, "views": plain}, indent=1, allow_nan=False) + "\n"


def views_latex(views: Sequence[View]) -> str:
    """One booktabs table a view."""
    parts = [
        booktabs(
            latex_escape(printable(view.title)),
            "".join("r" if head.right else "l" for head in view.heads),
            [latex_escape(head.title) for head in view.heads],
            [("", [[latex_escape(printable(cell)) for cell in row] for row in view.texts()])],
            [latex_escape(note) for note in view.notes],
        )
        for view in views
    ]
    return "\n".join([preamble(), *parts])


VIEW_RENDERERS: dict[str, Callable[[Sequence[View]], str]] = {
    "md": views_markdown,
    "csv": views_csv,
    "json": views_json,
    "latex": views_latex,
}
