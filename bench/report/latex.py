r"""Tables in LaTeX: booktabs, and a macro for every number of every row, under names that do not move.

``\benchval{ROW}{KEY}`` is a number as the table rounds it, ``\benchpm{ROW}{KEY}`` has its interval, ROW the
id of a row, with or without its digest. A name that no row has, or two, stops LaTeX with a message.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from bench.report.columns import columns, heading, notes, reported_columns
from bench.report.reported import CAUTION, TITLE, listed_under
from bench.report.rowid import name_of
from bench.report.statistics import Estimate
from bench.report.table import Line, Table
from bench.report.text import printable
from bench.report.views import lines_of
from bench.reported import Reported

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}", "[": r"{[}", "]": r"{]}", "*": r"{*}",
    "±": r"\ensuremath{\pm}", "≈": r"\ensuremath{\approx}", "▲": r"\ensuremath{\blacktriangle}",
    "▼": r"\ensuremath{\blacktriangledown}", "↓": r"\ensuremath{\downarrow}", "↑": r"\ensuremath{\uparrow}",
    "†": r"\textdagger{}", "²": r"\textsuperscript{2}", "·": r"\textperiodcentered{}",
}  # fmt: skip
MACROS = r"""% By `bench leaderboard --format latex`. Needs booktabs, amssymb and \usepackage[T1]{fontenc}.
\makeatletter
\providecommand*\benchval[2]{\bench@cell{#1}{#2}}
\providecommand*\benchpm[2]{\bench@cell{#1}{#2/pm}}
\providecommand*\benchnum[3]{#3}% a number typed by hand: `bench cite --check` compares it with row and key
\providecommand*\bench@cell[2]{\ifcsname bench@#1/#2\endcsname\csname bench@#1/#2\endcsname\else
  \PackageError{bench}{no row and key \detokenize{#1} \detokenize{#2}, or two rows of that name}{}\fi}
\providecommand*\bench@def[2]{\expandafter\gdef\csname bench@#1\endcsname{#2}}
\makeatother
"""


def escape(text: str) -> str:
    """Text that LaTeX sets as it is; letters beyond Latin-1 become their code points."""
    set_ = "".join(SIGNS.get(c) or _letter(c) for c in unicodedata.normalize("NFC", text))
    return re.sub("-(?=-)", "-{}", set_)  # two are no dash


def _letter(character: str) -> str:
    plain = character.isascii() and character.isprintable()
    latin = "À" <= character <= "ÿ" and character not in "×÷"
    return character if plain or latin else f"U+{ord(character):04X}"


def preamble() -> str:
    """The commands that tables and cells need."""
    return MACROS


def latex(tables: Sequence[Table]) -> str:
    """The commands, a macro for every cell, and one table each; numbers of the papers in one of their own."""
    papers = [_reported(numbers) for i in range(len(tables)) if (numbers := listed_under(tables, i))]
    return "\n".join([preamble(), cells(tables), *map(_table, tables), *papers])


def cells(tables: Sequence[Table]) -> str:
    """``\\bench@def`` of every number; short names only where one row has them."""
    found = {line.id: (table, line) for table in tables for line in lines_of(table)}
    names = Counter(map(name_of, found))
    parts = [r"\makeatletter"]
    for identifier, (table, line) in found.items():
        short = name_of(identifier)
        for key, text in values(table, line).items():
            parts.append(rf"\bench@def{{{identifier}/{key}}}{{{text}}}")
            if names[short] == 1:
                parts.append(rf"\bench@def{{{short}/{key}}}{{{text}}}")
    return "\n".join([*parts, r"\makeatother", ""])


def values(table: Table, line: Line) -> dict[str, str]:
    """LaTeX text of each number of a row by key; ``KEY/pm`` has the interval."""
    found: dict[str, str] = {}
    digits = {column.key: column.digits for column in table.columns}
    for key, value in line.metrics.items():
        if key in digits:
            found[key] = f"{value.mean:.{digits[key]}f}"
            found[f"{key}/pm"] = _interval(value, digits[key], dagger=line.kind == "student")
    shown = digits.get(table.primary, 3)
    numbers = {
        "excess": line.excess and f"{line.excess:.{shown}f}",
        "nfe": line.nfe,
        "work": line.work and f"{line.work:.0f}",
        "latency": line.latency and f"{line.latency:.2f}",
        "rank": line.rank,
        "seeds": line.seeds,
    }
    return found | {key: str(value) for key, value in numbers.items() if value is not None}


def _interval(value: Estimate, digits: int, *, dagger: bool) -> str:
    text = f"{value.mean:.{digits}f}"
    if value.half is not None:
        text += rf"\,\ensuremath{{\pm}}\,{value.half:.{digits}f}"
    return text + r"\textdagger{}" if dagger and value.over != "seeds" else text


def _table(table: Table) -> str:
    lines = list(lines_of(table))
    shown = columns(table, lines)
    groups = [
        (
            escape(printable(section.title)),
            [[escape(column.cell(line)) for column in shown] for line in section.lines],
        )
        for section in table.sections
    ]
    layout = "".join("r" if column.right else "l" for column in shown)
    titles = [escape(column.title) for column in shown]
    return booktabs(escape(heading(table)), layout, titles, groups, [escape(note) for note in notes(table)])


def _reported(numbers: Sequence[Reported]) -> str:
    shown = reported_columns(numbers)
    layout, titles = "".join("r" if c.right else "l" for c in shown), [escape(c.title) for c in shown]
    rows = [[escape(column.cell(number)) for column in shown] for number in numbers]
    return booktabs(escape(TITLE), layout, titles, [("", rows)], [escape(CAUTION)])


def booktabs(
    caption: str,
    layout: str,
    titles: Sequence[str],
    groups: Sequence[tuple[str, Sequence[Sequence[str]]]],
    remarks: Sequence[str],
) -> str:
    """One table of escaped texts: groups of rows under headings, remarks below."""
    body = [r"\toprule", " & ".join(titles) + r" \\"]
    for title, rows in groups:
        body.append(r"\midrule")
        if title:
            body.append(rf"\multicolumn{{{len(titles)}}}{{l}}{{\textit{{{title}}}}} \\")
        body += [" & ".join(row) + r" \\" for row in rows]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", r"\begin{tabular}{" + layout + "}"]
    ends = [r"\bottomrule", r"\end{tabular}", "", r"\footnotesize " + r" \par ".join(remarks), r"\end{table}"]
    return "\n".join([*lines, *body, *ends]) + "\n"
