"""The page of all leaderboards: one HTML file that needs no network, no library and no font of others.

Everything that a record says goes through Jinja's autoescape or into a JSON block that the script only ever
sets as text; the policy in the page's head lets no script run but the one that was built in.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined
from markupsafe import Markup

from bench import __version__
from bench.report.html_data import page_data
from bench.report.html_rows import Grid, grid_of
from bench.report.levels import LEVELS, read_levels
from bench.report.profile import profile_views
from bench.report.views import Shown, View

SCRIPTS = ("dom.js", "table.js", "plot.js", "charts.js", "record.js", "main.js")
GRID_LIMIT = 250_000  # bytes of a picture of samples in the page; a larger one is left out
FIRST = 20  # rows of a section before the reader asks for all, as table.js says it
PROFILE_ROWS = 40  # of a profile's table


def page(boards: Sequence[Shown], root: Path) -> str:
    """The page.

    Args:
        boards: what is shown, one a suite.
        root: folder of the leaderboards: grids lie in ``<suite>/grid.png``, levels in ``verified.json``.
    """
    levels = read_levels(root)
    script = "\n".join(['(() => {\n"use strict";', *map(part, SCRIPTS), "})();"])
    grids = [[grid_of(table, shown, levels) for table in shown.tables] for shown in boards]
    return _template().render(
        version=__version__,
        css=Markup(part("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(embedded(page_data(boards, grids))),
        suites=[_suite(shown, made, root) for shown, made in zip(boards, grids, strict=True)],
        profiles=[_shortened(view) for view in profile_views(boards)],
        choices=_choices(grids),
        levels=LEVELS,
        first=FIRST,
        records=sum(len(shown.records) for shown in boards),
        rows=sum(grid.count for made in grids for grid in made),
    )


@cache
def part(name: str) -> str:
    """A source file of the page."""
    return (resources.files("bench") / "report" / "site" / name).read_text(encoding="utf-8").strip()


@cache
def _template() -> Any:
    made = Environment(
        loader=BaseLoader(), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return made.from_string(part("page.html"))


def embedded(data: dict[str, Any]) -> str:
    """JSON that no HTML parser leaves, one line for each row and record."""
    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and len(value) > 1:
            inner = ",\n".join(f"{_json(k)}:{_json(v)}" for k, v in value.items())
            lines.append(f"{_json(key)}:{{\n{inner}\n}}")
        elif isinstance(value, list) and len(value) > 1:
            lines.append(f"{_json(key)}:[\n" + ",\n".join(map(_json, value)) + "\n]")
        else:
            lines.append(f"{_json(key)}:{_json(value)}")
    return "{" + ",\n".join(lines) + "}"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _suite(shown: Shown, grids: list[Grid], root: Path) -> dict[str, Any]:
    picture = root / shown.suite.name / "grid.png"
    embeddable = picture.is_file() and picture.stat().st_size <= GRID_LIMIT
    return {
        "name": shown.suite.name,
        "id": shown.suite.id,
        "title": shown.suite.title,
        "about": shown.suite.about,
        "grids": grids,
        "curves": any(record.curve for record in shown.records if record.kind == "student"),
        "samples": base64.b64encode(picture.read_bytes()).decode() if embeddable else "",
    }


def _shortened(view: View) -> dict[str, Any]:
    texts = view.texts()
    notes = list(view.notes)
    if len(texts) > PROFILE_ROWS:
        notes.append(f"The first {PROFILE_ROWS} of {len(texts)} methods.")
    return {"title": view.title, "heads": view.heads, "rows": texts[:PROFILE_ROWS], "notes": notes}


def _choices(grids: Sequence[Sequence[Grid]]) -> dict[str, list[Any]]:
    """What the filters offer."""
    made = [grid for several in grids for grid in several]
    return {
        "nfe": sorted({count for grid in made for count in grid.counts}),
        "protocol": sorted({grid.table.protocol for grid in made}),
        "status": sorted({status for grid in made for status in grid.statuses}, key=lambda s: (s != "ok", s)),
    }
