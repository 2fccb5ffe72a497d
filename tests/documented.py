"""The commands that the documents show, and what they say that these print."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "bench/presets").glob("*.md")]
)
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "console")
LOOKS_RUN = re.compile(r"^(?:\$ | {4,})?(?:bench|make|pip|mkdocs|python -m) [\w.'-]", re.MULTILINE)
INLINE = re.compile(r"`((?:bench|make|pip|mkdocs|python -m) [^`]+)`")
TOLERANCE = 0.02  # of numbers in a transcript: another CPU rounds otherwise, and a training amplifies it


@dataclass(frozen=True)
class Command:
    """A command as a page shows it, with the lines that the page says it prints."""

    page: str
    line: int
    text: str
    printed: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """Its words, without the program that starts them."""
        words = shlex.split(self.text, comments=True)
        return words[2:] if words[:2] == ["python", "-m"] else words

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[Command]:
    """The commands of a page's blocks of shell, in their order."""
    found, text = [], text_of(page)
    for block in FENCE.finditer(text):
        start = text.count("\n", 0, block.start("body")) + 1
        if block["language"] == "sh":
            found += script(page, start, block["body"])
        elif block["language"] == "console":
            found += transcript(page, start, block["body"])
    return found


def script(page: str, start: int, body: str) -> list[Command]:
    """A command on every line; a backslash at the end of a line joins the next."""
    found, at = [], start
    for whole in re.split(r"(?<!\\)\n", body):
        if whole.strip() and not whole.lstrip().startswith("#"):
            found.append(Command(page, at, whole.replace("\\\n", " ").split(" #")[0].strip()))
        at += whole.count("\n") + 1
    return found


def transcript(page: str, start: int, body: str) -> list[Command]:
    """Commands after ``$``, each with what it prints."""
    head, *parts = re.split(r"^\$ ", body, flags=re.MULTILINE)
    assert not head.strip(), f"{page}:{start}: a transcript begins with a command"
    found, at = [], start + head.count("\n")
    for part in parts:
        text, *printed = part.rstrip("\n").split("\n")
        found.append(Command(page, at, text, tuple(printed)))
        at += part.count("\n")
    return found


def elsewhere(page: str) -> list[str]:
    """Lines outside blocks of shell that look like commands to be run."""
    kept = FENCE.sub(lambda b: "" if b["language"] in (*SHELL, "python") else b[0], text_of(page))
    return [match[0] for match in LOOKS_RUN.finditer(kept) if match[0].startswith(("    ", "$"))] + [
        match[0] for block in FENCE.finditer(kept) for match in LOOKS_RUN.finditer(block["body"])
    ]


def inline(page: str) -> list[str]:
    """Commands within sentences."""
    return [" ".join(text.split()) for text in INLINE.findall(FENCE.sub("", text_of(page)))]


def differs(stated: tuple[str, ...], printed: str) -> str:
    """The first stated line that was not printed in its turn, or ""; ``...`` stands for anything."""
    lines, gap = iter(printed.splitlines()), False
    for line in stated:
        if line.strip() == "...":
            gap = True
            continue
        for found in lines:
            if same(line, found):
                break
            if not gap:
                return f"{line!r}, found {found!r}"
        else:
            return f"{line!r}, found the end"
        gap = False
    rest = next(lines, None)
    return f"the end, found {rest!r}" if rest is not None and not gap else ""


def same(stated: str, found: str) -> bool:
    """Whether two lines have the same words, numbers up to ``TOLERANCE``."""
    left, right = stated.split(), found.split()
    if left[-1:] == ["..."]:
        left, right = left[:-1], right[: len(left) - 1]
    return len(left) == len(right) and all(map(alike, left, right))


def alike(stated: str, found: str) -> bool:
    """Whether two words are the same, or numbers that are close."""
    marks = "†%,"
    try:
        one, other = float(stated.strip(marks)), float(found.strip(marks))
    except ValueError:
        return stated == found
    return abs(one - other) <= TOLERANCE * abs(one) and stated.lstrip("-.0123456789") == found.lstrip(
        "-.0123456789"
    )
