"""What pages show in the site beyond their text: formulas as MathML, citations, results of a method."""

from __future__ import annotations

import html
import re
from pathlib import Path
from posixpath import dirname, relpath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bench.references import bibliography
from bench.report.collect import collect, record_files
from bench.report.columns import columns, heading
from bench.report.markdown import grid
from bench.report.table import Line, Table, tables
from bench.report.views import lines_of
from bench.suite import load_suite

REFERENCES = "docs/references.md"
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
CITATION = re.compile(r"\[@([\w-]+)\]")
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
RESULTS = re.compile(r"^<!-- results: (\w+) -->$", re.MULTILINE)
FIELD = re.compile(r"^ *(\w+) = \{+(.*?)\}+,?$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the bibliography."""
    text = "\n".join(["# References\n", *map(reference, bibliography())])
    files.append(File.generated(config, REFERENCES, content=text))
    return files


def reference(key: str) -> str:
    """A paper under a heading of its own."""
    entry = bibliography()[key]
    field = dict(FIELD.findall(entry))
    authors = ", ".join(
        " ".join(reversed(name.split(", "))) for name in field.get("author", "").split(" and ")
    )
    where = f" <{field['url']}>" if "url" in field else ""
    return (
        f"## {field['title']} {{ #{key} }}\n\n{authors}, {field.get('year', '')}.{where}\n\n"
        f"```bibtex\n{entry}\n```\n"
    )


def short(key: str) -> str:
    """``Karras et al. 2022``."""
    field = dict(FIELD.findall(bibliography()[key]))
    names = [name.partition(",")[0] for name in field.get("author", key).split(" and ")]
    return (
        f"{names[0]}{' et al.' if len(names) > 2 else ' and '.join(['', *names[1:]])} {field.get('year', '')}"
    )


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Expand what a page asks for in a comment, then link citations."""
    root = Path(config.config_file_path).parent
    up = relpath(REFERENCES, dirname(page.file.src_uri))
    markdown = INCLUDE.sub(lambda asked: body(root / asked[1]), markdown)
    markdown = RESULTS.sub(lambda asked: results(asked[1], root / "leaderboards" / "records"), markdown)
    return CITATION.sub(
        lambda key: f"[{short(key[1])}]({up}#{key[1]})" if key[1] in bibliography() else key[0], markdown
    )


def body(path: Path) -> str:
    """The text of a page below its first heading."""
    return path.read_text(encoding="utf-8").partition("\n")[2].strip()


def results(method: str, records: Path) -> str:
    """The rows of a method on every committed board; raises FileNotFoundError without one."""
    boards = [(load_suite(name), files) for name, files in record_files(records).items()]
    shown = [table for suite, files in boards for table in tables(collect(files, suite), suite)]
    parts = [rows_of(method, table) for table in shown]
    if not any(parts):
        raise FileNotFoundError(
            f"{records}: no record of method {method!r}; take its 'results' out of its page"
        )
    return "\n".join(part for part in parts if part)


def rows_of(method: str, table: Table) -> str:
    """A method's rows of one table; nothing without any."""
    lines: list[Line] = [line for line in lines_of(table) if line.method == method and line.kind == "student"]
    if not lines:
        return ""
    title = next(column.title for column in table.columns if column.key == table.primary)
    wanted = ("#", "method", "NFE", "excess", "vs solver", "work", "seeds", "status")
    kept = [c for c in columns(table, lines) if c.title in wanted or c.title.startswith(title)]
    return f"**{heading(table)}**\n\n{grid(kept, lines)}\n"


def on_page_content(text: str, **_: Any) -> str:
    """Formulas as MathML, which browsers set without a script."""
    made = FORMULA.sub(lambda found: formula(html.unescape(found[2]).strip(), found[1] == "div"), text)
    return re.sub(r"</math>(?=[.,;:])", "</math>&#8288;", made)  # no line begins with what follows a formula


def formula(tex: str, display: bool) -> str:
    """MathML of a formula; the converter calls ``aligned`` ``split``, and sets ``sim`` as a letter."""
    made = convert(tex.replace("{aligned}", "{split}"), display="block" if display else "inline")
    return made.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")
