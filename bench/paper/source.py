r"""What a LaTeX file cites: numbers by row and key, with the sentence and the table they stand in.

Three forms: ``\benchval{ROW}{KEY}`` and ``\benchpm{ROW}{KEY}``, whose number the exported file gives;
``\benchnum{ROW}{KEY}{9.02}``, typed by hand; and a comment ``% bench: ROW KEY``, repeated for several, about
the numbers before it on its line. ``% bench: ignore`` takes its line out of every check.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

ARGUMENT = r"\s*\{([^{}]*)\}"
MACRO = re.compile(rf"\\bench(val|pm|num){ARGUMENT}{ARGUMENT}(?:{ARGUMENT})?")
COMMENT = re.compile(r"(?<!\\)%(?P<text>[^\n]*)")
MARK = re.compile(r"^\s*bench:\s*(?P<rest>.*?)\s*$")
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?![\w.]*\d)(?:\s*\\%)?")
TABLE = re.compile(r"\\(?P<side>begin|end)\s*\{(?:table|tabular|longtable|wraptable|sidewaystable)[*xy]?\}")
DEFINITION = re.compile(r"\\(?:provide|new|renew)command\*?\s*\{?\\bench\w+")
BREAK = re.compile(r"\n\s*\n|(?<=[.!?])[\s}~]+(?=[A-Z\\])|\\\\|\\(?:item|section|paragraph|caption)\b")


@dataclass(frozen=True)
class Citation:
    """A number cited by row.

    Attributes:
        typed: the numbers that stand there, perhaps none; None where a macro of the export gives it.
        table: of the table it stands in, None outside.
        sentence: the text around it, without comments.
    """

    line: int
    row: str
    key: str
    typed: tuple[str, ...] | None
    table: int | None
    sentence: str
    place: int


def citations(text: str) -> list[Citation]:
    """All citations of a file, in its order."""
    bare = COMMENT.sub(lambda match: " " * len(match[0]), text)
    lines = [match.start() for match in re.finditer(r"^", text, re.MULTILINE)]
    spans, tables = _sentences(bare), _tables(bare)
    ignored = {
        bisect_right(lines, match.start())
        for match in COMMENT.finditer(text)
        if (mark := MARK.match(match["text"])) and mark["rest"] == "ignore"
    }
    found = [*_macros(bare), *_comments(text, bare, lines)]
    placed = [
        replace(
            one,
            line=bisect_right(lines, one.place),
            table=next((i for i, (start, end) in enumerate(tables) if start <= one.place < end), None),
            sentence=next((bare[start:end] for start, end in spans if start <= one.place < end), ""),
        )
        for one in found
    ]
    return sorted((one for one in placed if one.line not in ignored), key=lambda one: one.place)


def _macros(bare: str) -> Iterator[Citation]:
    definitions = {match.end() for match in DEFINITION.finditer(bare)}
    for match in MACRO.finditer(bare):
        form, row, key, typed = match.groups()
        if match.end(1) not in definitions:
            numbers = tuple(NUMBER.findall(typed or "")) if form == "num" else None
            yield Citation(0, row.strip(), key.strip(), numbers, None, "", match.start())


def _comments(text: str, bare: str, lines: list[int]) -> Iterator[Citation]:
    """Citations in comments; they stand where the last character before them does."""
    for match in COMMENT.finditer(text):
        mark = MARK.match(match["text"])
        if mark is None or mark["rest"] == "ignore":
            continue
        start = lines[bisect_right(lines, match.start()) - 1]
        before = bare[start : match.start()]
        place = start + max(len(before.rstrip()) - 1, 0)
        words = mark["rest"].split()
        numbers = tuple(NUMBER.findall(MACRO.sub(" ", before)))
        for row, key in zip(words[::2], [*words[1::2], ""], strict=False):
            yield Citation(0, row, key, numbers, None, "", place)


def _sentences(bare: str) -> list[tuple[int, int]]:
    ends = [match.start() for match in BREAK.finditer(bare)]
    return list(zip([0, *ends], [*ends, len(bare)], strict=True))


def _tables(bare: str) -> list[tuple[int, int]]:
    """Outermost tables, from begin to end; an open one reaches to the end of the file."""
    found, depth, start = [], 0, 0
    for match in TABLE.finditer(bare):
        if match["side"] == "begin":
            start = match.start() if depth == 0 else start
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                found.append((start, match.end()))
    return [*found, (start, len(bare))] if depth else found
