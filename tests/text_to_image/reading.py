"""Captions read back into statements by rules that know the language and not the writer."""

from __future__ import annotations

import re
from itertools import pairwise

from baselines.datasets.scene_statements import Mention, Relation, Statement

WORDS = {
    "disc": "circle", "box": "square", "plus": "cross", "hoop": "ring", "violet": "purple",
    "little": "small", "big": "large", "gray": "grey",
}  # fmt: skip
ROWS, COLUMNS = {"top": -1, "bottom": 1}, {"left": -1, "right": 1}
NAMED = re.compile(
    r"an? (?:(small|large) )?(red|orange|yellow|green|blue|purple) (circle|square|triangle|cross|ring)"
    r"(?: (?:at the|on the|in the) "
    r"(top left|top right|bottom left|bottom right|top|bottom|left|right|middle))?"
)
RELATED = re.compile(r"^ (?:to the )?(left of|right of|above|over|below|under) $")
GROUND = re.compile(r"(?:on a|against a|on) (black|grey|white|brown)(?: background)?$")


def read(caption: str) -> Statement:
    """The statement of a caption."""
    words = [WORDS.get(word, word) for word in re.findall(r"\w+|,", caption)]
    text = " ".join(words)
    ground = GROUND.search(text)
    found = list(NAMED.finditer(text))
    mentions = tuple(Mention(m[2], m[3], m[1], _place(m[4])) for m in found)
    relation = None
    for at, (first, second) in enumerate(pairwise(found)):
        if between := RELATED.match(text[first.end() : second.start()]):
            name = {"over": "above", "under": "below"}.get(between[1], between[1])
            relation = Relation(at, name, at + 1)
    return Statement(mentions, relation, ground[1] if ground else None)


def _place(words: str | None) -> tuple[int, int] | None:
    if words is None:
        return None
    parts = words.split()
    column = next((COLUMNS[part] for part in parts if part in COLUMNS), 0)
    return column, next((ROWS[part] for part in parts if part in ROWS), 0)
